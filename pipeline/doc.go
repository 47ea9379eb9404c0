// Package pipeline reads a source, handles its messages in order per key and concurrently across keys, and commits what
// is settled, so that a restart goes on exactly there.
//
// A slow, failing or hot key delays only itself, until it has used its share of the budget; then its partition waits,
// and no other. What is committed is always true: every message below a committed frontier was settled. When a
// partition is asked back, nothing of it is started any more before anybody else can learn that it is free.
//
// A [Pipeline] is composed by a [Builder], which reports all mistakes at once before anything starts, and then runs
// until its context ends. Package pipelinetest runs a stage on given messages in a test.
//
// Delivery is at least once. After a crash, messages that were unsettled, or were settled since the last commit, are
// handled again. A process that was paused or cut off may still run handlers of a partition that another process owns
// by then; a store can tell by [keystrand.Message.Epoch].
package pipeline
