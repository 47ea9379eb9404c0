// Package keyed runs items in order within a key and concurrently across keys.
//
// A key's items form a lane, a FIFO. Each call of Config.Run is a turn: it gets the first items of one lane, and its
// Result says which of them leave. Package keyed guarantees:
//
//   - An item starts only after every earlier item of its key has left the lane.
//   - Two turns of one key never run at the same time, even when the queue is fenced and opened again in between.
//   - Claiming, running and putting back a lane costs O(1) and allocates nothing in steady state, for any number of
//     keys and workers.
//
// Items are of any type. The package does not persist anything, does not order items across keys, and cannot interrupt
// a turn that does not return.
package keyed
