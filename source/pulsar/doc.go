// Package pulsar is a source of messages from Apache Pulsar. Each partition of the topics belongs to one process at a time.
// When it has to go to another, it is asked back, drained and acknowledged, and given up only after Release. What is
// settled is acknowledged message by message, so a restart hands out again only what was not; nothing that is unsettled
// is ever acknowledged, and nothing in a way that lets an earlier message of a key come again without the later ones.
//
//	src, err := pulsar.New("pulsar://localhost:6650", "billing", []string{"orders"}, pulsar.Config{})
//
// Connections, TLS and authentication are those of apache/pulsar-client-go. Who owns a partition is elected on a second
// subscription, named like the first with -owner behind it, and locked by an exclusive consumer on the first; see
// Config.Alone for one process without others. Other programs must not use the same subscription.
//
// A restart handles again every batch that was settled in part, and everything settled above the first of these. With
// Config.Store it handles again only what was not settled. Producers that do not batch need no store.
//
// An ownership ends with its connection. When a topic is unloaded, a broker restarts or a connection breaks, the partition is
// lost, its handlers are cancelled, and it is attached anew with another epoch: what was settled since the last
// acknowledgement that the broker has kept is handled again, in order.
//
// Not promised: that a process which was paused for more than a few seconds, or cut off, stops handling before another
// one begins; the broker lets its lock go, it does not know, and its late acknowledgements are accepted, of
// messages that it has settled. The epoch of its messages lets a store tell; without Config.Store that epoch is the
// clock of the process that attaches, so it grows as far as the clocks agree. Nor that a confirmed acknowledgement outlives
// the broker: a broker that is killed forgets the newest second or so, as a whole, and one that unloads a topic forgets what
// it confirms meanwhile; their messages come again. A value that is absent, and one that is empty, look the same, as do keys. And
// a message without value and properties that was sent outside a batch never comes: pulsar-client-go 0.19 takes it for
// damaged, and acknowledges it before anybody sees it; producers that send such messages have to batch them, or give them a
// property.
package pulsar
