package pipeline

import (
	"slices"
	"sync"
	"time"
)

// fetches remembers when the messages of a partition were fetched: one time for a batch. It keeps few times, however many messages
// are unsettled. Then a message may get the time of an earlier batch, never of a later one; the oldest message gets its own.
//
// The goroutine of flow calls add and trim. age is safe for concurrent use.
type fetches struct {
	mu    sync.Mutex
	times []fetchTime // ascending; guarded by mu, and only changed by flow
}

// fetchTime is the time of a batch and the number of its first message.
type fetchTime struct {
	first int64
	at    time.Time
}

const mostTimes = 64

// add records a batch. oldest returns the number of the oldest unsettled message, -1 if there is none; it is called now and then.
func (f *fetches) add(first int64, at time.Time, oldest func() int64) {
	if len(f.times) == mostTimes {
		f.forget(oldest())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, fetchTime{first, at})
}

// forget drops times that are not needed. If it has to keep most of them, it drops every second one.
func (f *fetches) forget(oldest int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest < 0 {
		f.times = f.times[:0]
		return
	}
	f.times = slices.Delete(f.times, 0, f.indexLocked(oldest))
	if len(f.times) <= mostTimes/2 {
		return
	}
	kept := f.times[:0]
	for i := 0; i < len(f.times); i += 2 {
		kept = append(kept, f.times[i])
	}
	f.times = kept
}

// trim frees the memory, if nothing is unsettled.
func (f *fetches) trim(oldest int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest < 0 {
		f.times = nil
	}
}

// indexLocked returns the index of the batch of a message.
func (f *fetches) indexLocked(number int64) int {
	i, found := slices.BinarySearchFunc(f.times, number, func(t fetchTime, number int64) int { return int(min(max(t.first-number, -1), 1)) })
	if !found {
		i--
	}
	return max(i, 0)
}

// age returns how long ago the message with this number was fetched; 0 for a negative number.
func (f *fetches) age(number int64, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number < 0 || len(f.times) == 0 {
		return 0
	}
	return max(0, now.Sub(f.times[f.indexLocked(number)].at))
}
