// Package commit records which messages of a partition are settled and encodes that as a text that any offset store can
// keep.
//
// A [Tracker] learns which messages were fetched, in log order, and which are settled, in any order. Its [Progress]
// holds the frontier, below which every message is settled, and the settled ranges ahead of it. The frontier never
// passes an unsettled message. A Progress holds everything settled when it was taken, so a restart from it redelivers
// only messages that were unsettled.
//
// [Encode] writes a Progress as printable ASCII within a limit and reports in [Stored] what did not fit. [Decode] reads
// it back and refuses foreign, newer or damaged text, each with its own error.
//
// The package knows no messages, keys or brokers, only numbers and offsets. It stores nothing, does not decide when to
// commit, and does not compare epochs; the caller does. It does not prevent repeats: messages settled after the last
// commit are redelivered at a restart.
package commit
