// Package kafka is a source of messages from Apache Kafka, as a member of a consumer group. Each partition belongs to one
// member at a time. A rebalance revokes partitions. The source keeps its membership while their handlers end and commit; a
// partition moves only after Release. Progress is stored in the metadata of the committed offset, exact to the message and
// with the identity of the log: a restart handles only unsettled messages. No message is skipped, not even after a commit by
// another program, or after a topic was deleted and created again; [CommittedOrLatest] and [Latest] name one exception.
//
//	src, err := kafka.New([]string{"localhost:9092"}, "billing", []string{"orders"}, kafka.Config{})
//
// Connections, TLS and SASL are those of segmentio/kafka-go; membership and fetches are code of our own. The group uses the
// classic protocol with eager rebalancing: every join or leave revokes all partitions of every member for a moment; with the
// strategy Sticky most return to their member. A reconnect is no rebalance: a restart of a broker, a move of the coordinator
// and an expired SASL session keep the membership.
//
// Not promised: that a process which was paused or cut off stops handling before another one starts. The broker refuses its
// commits, and a store can compare the epochs of messages. All members of the group must use this package.
package kafka
