// Package console tells in sentences what a pipeline does, and why it does not do more. [Diagnose] makes them from two snapshots.
//
// It knows what one process knows: the partitions of others, and the cause of an imbalance between brokers, are not in a snapshot.
package console
