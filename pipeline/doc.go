// Package pipeline reads a source, handles its messages in order per key and concurrently across keys, and commits what
// is settled, so that a restart continues from there.
//
//   - A slow, failing or hot key delays only itself. Once it has used its share of the budget, it pauses its own
//     partition and no other. With [Builder.Divert] its further messages go to a store instead, in order, and its partition goes
//     on.
//   - Every message below a committed frontier is settled.
//   - When a partition is revoked, none of its handlers starts any more before another process can own it.
//
// A [Builder] composes a [Pipeline] and reports all mistakes at once, before anything starts. The pipeline runs until
// its context ends. Package pipelinetest runs a stage on given messages in a test.
//
// Delivery is at least once: a crash repeats messages that were unsettled or were settled since the last commit. A
// process that was paused or disconnected may still run handlers of a partition that another process owns by then; a
// store can detect this by [keystrand.Message.Epoch].
package pipeline
