// Package assign plans which member of a consumer group owns which partitions. Every strategy is a pure function: equal
// members and partitions give an equal plan on every machine. Every partition with a subscriber has exactly one owner.
// [Sticky] keeps a partition with its member wherever balance allows.
//
// The package knows no broker and no client library: the leader of a group calls a strategy with the members and their
// [Claims].
//
// Strategies balance partitions, not messages: a partition or topic with far more messages than the others keeps its owner
// busier.
package assign
