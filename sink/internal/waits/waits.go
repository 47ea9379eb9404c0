// Package waits keeps the reason why the messages of a Write wait, for the Trouble of a sink.
package waits

import (
	"sync"
	"time"
)

// slowAnswer is the time without an answer after which a request is late.
const slowAnswer = time.Second

// Waits is why the messages of a writer's running Write wait. Its requests have keys, such as the broker that they go to.
//
// A Waits is safe for concurrent use. Its methods do not block. The zero value is ready.
type Waits[K comparable] struct {
	mu    sync.Mutex
	began time.Time       // of the running Write; zero if none runs
	err   error           // the last error
	sent  map[K]time.Time // when each request in flight was sent
}

// Begin records the start of a Write.
func (w *Waits[K]) Begin() { w.record(time.Now()) }

// End records the end of a Write.
func (w *Waits[K]) End() { w.record(time.Time{}) }

func (w *Waits[K]) record(began time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began, w.err = began, nil
}

// Set records the last transient error; nil: there is none any more.
func (w *Waits[K]) Set(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// Sending records that a request is sent.
func (w *Waits[K]) Sending(k K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent == nil {
		w.sent = make(map[K]time.Time)
	}
	w.sent[k] = time.Now()
}

// Answered records that a request has ended.
func (w *Waits[K]) Answered(k K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sent, k)
}

// Err returns the last error, and when the running Write began; zero if none runs.
func (w *Waits[K]) Err() (began time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.began, w.err
}

// Late reports whether a request has not been answered for some time, which one, and for how long.
func (w *Waits[K]) Late() (k K, d time.Duration, late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, at := range w.sent {
		if d := time.Since(at); d >= slowAnswer {
			return k, d.Round(time.Second), true
		}
	}
	return k, 0, false
}
