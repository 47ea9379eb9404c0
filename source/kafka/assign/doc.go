// Package assign decides which member of a consumer group gets which partitions. Every strategy is a pure function: the
// same members and partitions give the same plan on every machine, every partition that somebody subscribes to has
// exactly one owner, and [Sticky] leaves a partition with its member wherever balance allows.
//
// It knows no broker and no client library: the leader of a group calls a strategy with what the members said when they
// joined (see [Claims]).
//
// Balance is counted in partitions. It promises nothing about messages: one partition, or one topic, that gets far more
// of them than the others keeps its owner busier, whatever the strategy.
package assign
