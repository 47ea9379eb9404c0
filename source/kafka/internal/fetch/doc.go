// Package fetch reads one partition of a Kafka topic: every record from the start offset on, once, in order. The position is
// exact and never passes damaged data (see package records). A topic that was deleted and created again is another log: the
// reader returns an error instead of reading it. A reader retries transient errors, follows the leader, and holds at most two
// responses and a decompressed batch.
//
// Requests travel over the connections of kafka-go's Transport (see package wire), but are encoded and decoded here: the
// library's fetch codec forgets the last offset of a batch, drops a whole response for one damaged batch, and does not
// support topic ids.
//
// Before Kafka 3.1 fetch requests have no topic ids, so that a reader notices a topic that was created again only after some
// seconds. The package does not commit, and knows no groups.
package fetch
