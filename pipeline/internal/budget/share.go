package budget

import "sync"

// Share is the part of a [Budget] that one partition uses. [Budget.Open] makes it; only the methods of that Budget
// read and change it.
type Share struct {
	used     Usage // all fields are guarded by Budget.mu
	room     sync.Cond
	waiting  bool // Await waits for room
	fetching bool // a batch is being fetched
	owed     bool // a batch may be fetched regardless of other shares: one is under way, or nothing is in flight
	closed   bool // the partition was released: later Give calls are ignored
}
