// Package buffer lends the readers of a source the memory for responses. A Pool counts the bytes that are lent and says
// how much a reader may ask for, so that all readers together stay within a limit. Messages never point into a buffer.
//
// The limit is not exact: a broker sends at least one whole batch, and a batch may be larger when decompressed.
package buffer
