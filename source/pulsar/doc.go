// Package pulsar reads messages from Apache Pulsar. One process at a time owns a partition. A partition that moves is
// revoked, drained and acknowledged, and only Release gives it up. No unsettled message is ever acknowledged.
// Acknowledgements never break the order of a key on redelivery. A restart redelivers only messages that were not
// acknowledged.
//
//	src, err := pulsar.New("pulsar://localhost:6650", "billing", []string{"orders"}, pulsar.Config{})
//
// Connections, TLS and authentication are those of apache/pulsar-client-go. The owner of a partition is elected on a second
// subscription, named like the first with -owner appended. An exclusive consumer on the first subscription is the lock.
// A single process sets Config.Alone. Other programs must not use the same subscription.
//
// Message.Key is the bytes of a key, whether a producer sent it as text or as bytes. [InfoOf] has what else Pulsar knows of a
// message, and [ByOrderingKey] orders by the ordering key. Message.Stream is the full name of a topic.
//
// A restart handles again every batch that was settled in part, and everything settled above the first of these. With
// Config.Store it handles again only messages that were not settled. Without batching producers no store is needed.
//
// An ownership ends with its connection. When a topic is unloaded, a broker restarts or a connection breaks, the partition
// is lost and its handlers are cancelled. It is then owned again with another epoch. Messages settled since the last
// acknowledgement that the broker has kept are handled again, in order.
//
// Not promised:
//
//   - A process that was paused for more than a few seconds, or cut off, may still handle messages when the next owner
//     starts. The broker accepts its late acknowledgements, of messages that it has settled. A store can reject its
//     effects by Message.Epoch. Without Config.Store the epoch is the clock of the process that attaches, so it grows as
//     far as the clocks agree.
//   - A confirmed acknowledgement may not outlive the broker. A killed broker forgets the last second or so, as a whole. A
//     broker that unloads a topic forgets what it confirms meanwhile. These messages are redelivered.
//   - An empty value is a nil one, so a tombstone.
//   - Of an encrypted batch only the first key's kind is known, and counts for all its messages: see [Info].
//   - A message that cannot be decrypted, or that pulsar-client-go 0.19 takes for damaged, stops its partition before it, as
//     trouble.
package pulsar
