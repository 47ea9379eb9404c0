// Package sink defines the contract between a pipeline and a store for its outputs. A [Writer] reports which messages are
// durable. The durable messages of one key are in order, and the pipeline writes only the others again.
//
// [github.com/keystrand/keystrand/sink/sinktest] tests a sink against this contract.
//
// A sink does not promise to store a message only once: after a lost reply it may be stored twice, in order.
package sink
