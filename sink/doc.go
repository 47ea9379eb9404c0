// Package sink is the contract between a pipeline and a store that takes messages: what a [Writer] reports as durable
// is durable, in order for each key, and only what is not is written again.
//
// [github.com/keystrand/keystrand/sink/sinktest] is this contract as a test suite.
//
// A sink does not promise that a message is stored once: after a lost reply it may be stored twice, in order.
package sink
