// Package lines is a sink that writes messages as lines of JSON to an [io.Writer]: whole lines only, in the order of the
// Writes, flushed and synced before a Write reports them as durable.
//
// Each line is one object:
//
//	{"stream":"comments","partition":3,"offset":42,"key":"post-7","value":"hi","headers":[{"key":"h","value":"x"}],"time":"2006-01-02T15:04:05.999Z"}
//
// A key or value that is not UTF-8 stands in key_base64 or value_base64 instead, in standard base64. A field that is
// missing is null: no key, a tombstone, no headers, no time. [Decode] reads a line back without loss.
//
// It does not promise that a message is written once (after an error it may stand there twice, in order), nor that
// the last line is whole after a crash of the process or the machine: a reader skips what does not end with a newline.
package lines
