// Package fetch reads one partition of a Kafka topic: every record from the start offset on, once, in order, and none
// that is not there: no record below the offset asked for, no control record, and none of an aborted transaction
// unless it is asked for. The position is exact: it stands behind the last offset of each batch as the broker
// numbers it, so compacted tails, emptied batches and removed batches move it without messages. A damaged batch is an
// error with its offset, and the position does not pass it. A topic that was deleted and made again is another log:
// the reader says so instead of reading on in it.
//
// Requests travel through segmentio/kafka-go's Transport (its connections, TLS, SASL), but are written and read here
// (see exchange): the library's fetch codec forgets a batch's last offset and drops a whole response for one damaged
// batch, and its newest version knows no topic ids.
//
// The package does not promise to notice a topic that was made again on brokers without topic ids in their fetch
// requests (before Kafka 3.1) at once: there it looks every few seconds. It does not commit, and knows no groups.
package fetch
