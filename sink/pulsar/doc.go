// Package pulsar is a sink that writes to Apache Pulsar. A message that Write reports as durable has been confirmed by the
// broker, which has it from its bookies, and the messages of one key stand in their partition in the order in which they
// were written, whatever failed and was tried again in between.
//
// A message goes to the topic given to [New], or with Config.ByStream to the topic named by its Stream. One with a key goes
// to the partition that the Java client would choose (or another [Partitioner]); those without a key go to the partitions
// in turns. Whether a topic that is missing is made by writing to it is the broker's setting (allowAutoTopicCreation).
//
// # How order is kept
//
// The client library sends again by itself what a broken connection left unconfirmed, in order. But it also gives up
// single messages while later ones go on (a backlog quota, a message that turns out too large, a topic that closes), loses
// callbacks, and never gives a message back. So each writer has producers of its own, one a partition, and sends in waves:
// what is in a wave leaves the library as one entry a key, which the broker stores whole or not at all, and the next wave
// leaves when this one is confirmed. After any failure the producer is closed, which takes back what it still holds, and
// only then does a new one send the rest. Nothing is ever on its way behind a message of its key that may fail alone.
//
// # Beside the Kafka sink
//
//	setting            here                                     sink/kafka
//	Partitioner        JavaStringHash (Murmur3, GoStringHash)   Murmur2 (FNV)
//	Compression        of each batch; none                      the same
//	MaxBatchBytes      1 MiB: what is unconfirmed in a          1 MiB: the same, and the largest message
//	                   partition at one time
//	MaxMessageBytes    5 MiB, the broker's maxMessageSize       MaxBatchBytes
//	MixKeys            a batch holds one key's messages         a batch holds all keys of the partition
//	LastHeaderWins     a header's name that comes twice is      Kafka keeps both
//	                   refused: properties are a map
//	RequestTimeout     5 s: opening and closing a producer,     10 s: any request
//	                   looking a topic up
//	HealTimeout        10 s without a confirmation              2 s, and RequestTimeout for the request under way
//	MetadataMaxAge     1 min                                    1 min
//	Authentication     token, OAuth2, TLS, basic                SASL
//
// What differs in a message: Pulsar has no null, so a null key and an empty one, a null value and an empty one, a null
// header and an empty one are stored alike (a consumer gets no key, and no bytes; compaction takes the empty value as the
// tombstone that it was). Keys and headers that are not UTF-8 are stored as they are, which Go consumers read back and Java
// ones do not. The time becomes the event time, in milliseconds.
//
// # Full queues and quotas
//
// Are back-pressure. The library's queue has room for a wave, so it never refuses one. A topic above its backlog quota
// refuses producers: Write tries again for HealTimeout and then reports what is not durable, without calling it permanent,
// so that a pipeline writes it again until there is room. No message has a SendTimeout: the library would report it as
// failed and could still have it stored, behind a later one.
//
// # What is not promised
//
// That a message is stored once. A confirmation that is lost means that the wave is sent again and stands in the log twice:
// 1 2 3 1 2 3 4, in order each time. Where the namespace has deduplication switched on, the broker drops what the library
// sends again after a reconnect. There is no option for more: the broker remembers only the highest sequence id of a
// producer's name and silently drops every message that comes with a lower one, with the same answer that a duplicate gets.
// Keyed work ends out of the order of its offsets, a retried key long after the others, so with offsets as sequence ids the
// late ones would be lost, unseen. Even where all is in the order of the partition, the name would have to follow the
// partition from process to process, with batching off. Consumers that must not see a message twice have to recognize it.
//
// Nor that order holds across a change of a topic's number of partitions: keys then move. Nor that what is stored stays:
// without a subscription or a retention policy, the broker soon deletes it. Non-persistent topics are refused, since nothing
// in them is durable.
package pulsar
