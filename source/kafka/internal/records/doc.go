// Package records turns the record batches of a fetch response into messages: every record from an offset on, once, in
// order. It leaves out control records, and the records of aborted transactions unless they are asked for. The position is
// exact: it moves to the end of each batch as the broker numbers it, so compacted tails and emptied batches move it without
// messages. Damaged bytes are an error, never a panic, and the position does not pass them.
package records
