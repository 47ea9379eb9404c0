// Package commit knows how far a partition is settled, exactly, and writes it as a text that any offset store keeps.
//
// A [Tracker] is told what was fetched, in order, and what was settled, in any order. It gives one [Progress]: the
// frontier, below which every message is settled, and the ranges ahead of it that are settled too. A frontier never
// passes a message that is not settled, whatever the order, and everything settled when the snapshot was taken is in
// it: a restart from it hands out again what was unsettled, and nothing else.
//
// [Encode] writes a Progress as printable ASCII within a limit and says in [Stored] what did not fit. [Decode] reads
// it back, and answers foreign, newer or damaged text with an error that says which of these it is.
//
// The package knows no messages, no keys and no brokers: numbers in, numbers out. It does not store anything itself,
// does not decide when to commit, and does not compare epochs: that is its callers' work. It does not make a restart
// free of repeats: what is settled after the last commit is handed out again.
package commit
