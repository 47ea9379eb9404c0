// Package ack acknowledges the messages of one ownership of a Pulsar partition. It never acknowledges an unsettled
// message, and whatever part of its acknowledgements is lost, redelivery keeps the order of each key.
//
// A later message of a key settles only after the earlier ones. So three rules suffice:
//
//   - Nothing is acknowledged above a batch that is settled in part: its settled messages are redelivered, and with them
//     everything above.
//   - Entries are acknowledged in ascending order. A request that does not fit is sent in parts, each after the broker has
//     confirmed the part before.
//   - After the partition is lost, nothing is sent. A broker confirms requests while it closes a topic and forgets them; a
//     later request that it keeps would break the order.
//
// Quirks of brokers and of the client library (v0.19.0) that shape the requests:
//
//   - A cumulative acknowledgement covers entries that were never delivered: the first chunks of an incomplete message. So
//     each entry is acknowledged by itself, in about 20 bytes of a request. An entry that closes a gap lets the broker
//     move its cursor just as well.
//   - An id made from the numbers of one message in a batch acknowledges the whole batch.
//   - The id of a message in a batch waits for the rest of the batch in the library's tracker, which does not know what an
//     earlier owner has acknowledged. A new id for the whole entry does not wait.
//   - Only the id that came with a message in chunks knows the other chunks.
//   - A broker that has just loaded a topic and unloads it again can forget how far the cursor moved, and keep what was
//     acknowledged above it. See opener.
//   - An acknowledgement call hangs while the broker does not answer.
package ack
