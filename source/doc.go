// Package source defines the contract between a log and a pipeline. A [Source] gives the pipeline the partitions that this
// process owns, and gives a partition to another owner only after its release. Every source has the same guarantees:
//
//   - The messages of a partition are in order.
//   - The position of a partition may move without messages.
//   - Progress is stored as one snapshot and restored exactly.
//   - A partition has no new owner before the old one has released it, unless the partition is lost.
//
// [github.com/keystrand/keystrand/source/sourcetest] tests a source against this contract.
//
// A source or a partition may implement more: [Keyer], [Mover], [Stopper], [Prefetcher], [Reporter] and [Describer], or
// [Lagger], [LogEnder] and [Claimer]. A type that wraps one has to pass these methods on. A wrapper that hides a Keyer changes the order
// of messages, and nothing reports it.
//
// The contract has no order between partitions. A process that is paused or disconnected may still run handlers of a partition
// that another process already owns. A store can use the epoch in the [ID] to reject their writes.
package source
