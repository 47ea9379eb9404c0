// Package pulsar is a sink that writes to Apache Pulsar. A message that Write reports as durable has been confirmed by the
// broker, after its bookies stored it. Retries keep the order: the messages of one key are in their partition in the order in
// which they were written.
//
// # Topics and partitions
//
//   - The topic of a message is the topic passed to [New], or with Config.ByStream its Stream. The broker creates a missing
//     topic if its setting allowAutoTopicCreation is on.
//   - The partition of a message with a key is chosen by the [Partitioner]. By default it is the partition that the Java client
//     chooses.
//   - A key stored as bytes chooses its partition by its base64, as in the Java client.
//   - Messages without a key are spread over the partitions, also those with an ordering key.
//
// # How order is kept
//
// After a broken connection, the client library sends the unconfirmed messages again, in order. But it may fail one message
// and still send later ones, for example because of a backlog quota, a message that is too large, or a topic that closes. It
// may also never call a callback.
//
// Therefore each writer has its own producer for each partition, and sends in waves. The library sends the messages of one key
// in a wave as one entry, which the broker stores whole or not at all. The next wave is sent after this one is confirmed. After
// any failure the writer closes the producer, which drops the unsent messages, and a new producer sends the rest. So a message
// is never in flight while an earlier message of its key, in another entry, may fail.
//
// # Comparison with the Kafka sink
//
//	setting            here                                     sink/kafka
//	Partitioner        JavaStringHash (Murmur3, GoStringHash)   Murmur2 (FNV)
//	Compression        of each batch; none                      the same
//	MaxBatchBytes      1 MiB: unconfirmed bytes in a            1 MiB: the same, and the largest message
//	                   partition
//	MaxMessageBytes    5 MiB, the broker's maxMessageSize       MaxBatchBytes
//	MixKeys            a batch holds messages of one key        a batch holds all keys of the partition
//	LastHeaderWins     two headers with one name are refused:   Kafka keeps both
//	                   properties are a map
//	RequestTimeout     5 s: open or close a producer, look up   10 s: any request
//	                   a topic
//	HealTimeout        10 s without a confirmation              2 s, and RequestTimeout for the request in flight
//	MetadataMaxAge     1 min                                    1 min
//	Authentication     token, OAuth2, TLS, basic                SASL
//
// # How a message is stored
//
//   - A key is stored as text. It is stored as bytes, which is base64 with a flag, if it was read from Pulsar as bytes or is not
//     UTF-8. Java consumers read the same bytes with getKeyBytes. The Go client library shows the base64.
//   - A message that source/pulsar has read keeps the kind of its key and its ordering key, also in a copy with another value
//     and as a dead letter. To drop them, set Message.Native to nil.
//   - A nil key is no key; an empty key is a key. A nil value is null and an empty value empty, but compaction treats both as
//     tombstones, and the Go client library shows no difference. Headers without value are empty.
//   - Headers that are not UTF-8 are stored unchanged. Go consumers can read them, Java consumers cannot.
//   - Message.Time becomes the event time, in milliseconds. 1970-01-01 00:00 is stored as no event time, which is the same
//     in Pulsar. A time before 1970, which the client library cannot write, is a permanent failure.
//   - The broker acts on the publish time, not on the event time: retention does not depend on Message.Time.
//
// # Full queues and quotas
//
// Full queues and quotas cause back-pressure, not failures. The library's queue has room for a whole wave. A topic above its
// backlog quota refuses producers; Write then retries for HealTimeout and returns an error that is not permanent, so the
// pipeline writes the messages again until there is room.
//
// Messages have no SendTimeout. After a SendTimeout the library reports a message as failed, but the broker may still store
// it, behind a later one.
//
// # Not promised
//
//   - That a message is stored once. After a lost confirmation the wave is sent again, in order, and the log has
//     1 2 3 1 2 3 4. With deduplication enabled in the namespace, the broker drops the messages that the library sends again
//     after a reconnect. Consumers must detect other duplicates if they cannot tolerate them.
//   - Order across a change of the number of partitions of a topic, which moves keys to other partitions.
//   - That messages are kept. Without a subscription or a retention policy, the broker soon deletes them. The sink
//     rejects non-persistent topics, because their messages are never durable.
//
// Offsets cannot be used as sequence ids to let the broker drop all duplicates. For each producer name, the broker remembers
// only the highest sequence id and silently drops every message with a lower one. Messages of different keys are not written
// in the order of their offsets, so late ones would be lost.
package pulsar
