// Package kafka is a source of messages from Apache Kafka, as a member of a consumer group. Each partition of the topics
// belongs to one member at a time. When it has to go to another, it is asked back, keeps its membership alive while what
// runs is drained and committed, and is given up only after Release. Progress travels in the metadata of the committed
// offset, exact to the single message and with the identity of the log, so a restart hands out again only what was not
// settled. Nothing is skipped: not after a commit by another program, not after a topic was deleted and made again.
//
//	src, err := kafka.New([]string{"localhost:9092"}, "billing", []string{"orders"}, kafka.Config{})
//
// Membership, connections, TLS and SASL are those of segmentio/kafka-go; records are read by a path of our own. The
// group uses the classic protocol with eager rebalancing: whenever a member comes or goes, every member gives back all
// its partitions for a moment, and with the strategy Sticky gets most of them again.
//
// Not promised: that a process which was paused or cut off stops handling before another one begins. Its commits are
// refused, and the epoch of its messages lets a store tell. Other programs must not join the same group: all its members
// use this package.
package kafka
