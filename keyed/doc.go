// Package keyed runs items in order within a key and concurrently across keys.
//
// For two items of one key, the later one is never started before the turn of the earlier one has ended and said that
// the item leaves its lane; two turns of one key never run at the same time, even when its queue is fenced and opened
// again in between. Taking, running and putting back a lane costs O(1) and allocates nothing in steady state, whatever
// the number of keys and workers.
//
// The package knows no messages: an item is whatever the caller says it is. It does not persist anything, it does not
// order items across keys, and it never gives up a turn that does not return.
package keyed
