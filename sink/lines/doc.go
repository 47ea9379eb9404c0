// Package lines is a sink that writes messages as lines of JSON to an [io.Writer], in the order of the Writes. It flushes and
// syncs the lines before Write reports them as durable.
//
// Each line is one object:
//
//	{"stream":"comments","partition":3,"offset":42,"key":"post-7","value":"hi","headers":[{"key":"h","value":"x"}],"time":"2006-01-02T15:04:05.999Z"}
//
// A key or value that is not UTF-8 is written as key_base64 or value_base64, in standard base64. A missing field means nil: no
// key, a tombstone, no headers, no time. [Decode] reads a line back without loss.
//
// The sink does not promise to write a message only once: after an error the output may have it twice, in order. After a crash
// of the process or the machine, the last line may be incomplete. A reader must skip a last line without a newline.
package lines
