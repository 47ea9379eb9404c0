// Package source is the contract between a log and a pipeline: a [Source] hands over partitions as they come to be
// owned, and takes them back only after they have been drained and released. Every source gives the same guarantees:
// messages of a partition in order, a position that may move without messages, progress stored as one snapshot and
// restored exactly, and no hand-over before the old owner has let go, unless the partition is lost.
//
// [github.com/keystrand/keystrand/source/sourcetest] is this contract as a test suite, for the sources of this module
// and for anybody's own.
//
// The contract promises nothing about order between partitions. A process that is paused or cut off can still run
// handlers of a partition that others own by then; the epoch in the [ID] is how a store can tell.
package source
