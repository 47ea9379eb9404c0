package main

import (
	"slices"
	"sync"
	"time"
)

// hotCount records what the handler of a load does. It is safe for concurrent use.
type hotCount struct {
	load  load
	all   []arrival
	begun chan struct{} // closed at the first message
	start time.Time     // of the load; read after begun

	mu         sync.Mutex
	left       []int32         // messages that are not handled, by key
	sum        int             // of left
	running    []bool          // by key
	next       []int32         // seq of the next message, by key
	violations int             // handlers that began while one of their key ran, or not with its next message
	latencies  []time.Duration // of measured messages, from their due times to the ends of their handlers
	hottest    []time.Time     // when the messages of the first hot key were handled
	last       time.Time       // when the last message of any key was
	drainTime  time.Duration   // of the handlers of hot keys that ended after the load
	drainCalls int
}

func newHotCount(l load) *hotCount {
	keys := coldKeys + l.Hot
	c := &hotCount{load: l, all: l.arrivals(), begun: make(chan struct{}), left: make([]int32, keys), running: make([]bool, keys), next: make([]int32, keys)}
	for _, a := range c.all {
		c.left[a.key]++
	}
	c.sum = len(c.all)
	return c
}

// begin is called when a handler begins, with its messages.
func (c *hotCount) begin(as []arrival, start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.start.IsZero() {
		c.start = start
		close(c.begun)
	}
	key := as[0].key
	for i, a := range as {
		if a.key != key || c.running[key] || a.seq != c.next[key]+int32(i) {
			c.violations++
		}
	}
	c.running[key] = true
}

// end is called when a handler that began at the given time is about to return.
func (c *hotCount) end(as []arrival, began time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := as[0].key
	c.running[key], c.next[key] = false, as[len(as)-1].seq+1
	c.left[key] -= int32(len(as))
	c.sum -= len(as)
	c.last = now
	for _, a := range as {
		if c.load.measured(a) {
			c.latencies = append(c.latencies, now.Sub(c.start.Add(a.due)))
		}
	}
	if key == coldKeys {
		c.hottest = append(c.hottest, slices.Repeat([]time.Time{now}, len(as))...)
	}
	if key >= coldKeys && now.After(c.ends()) {
		c.drainTime += now.Sub(began)
		c.drainCalls++
	}
}

// ends returns when the load ends. Call it after begun.
func (c *hotCount) ends() time.Time { return c.start.Add(c.load.ends()) }

// backlog returns the number of messages that are not handled: of all keys, and the most of one key.
func (c *hotCount) backlog() (all, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum, int(slices.Max(c.left))
}

// drained returns when the last message was handled, and the mean time of a handler of a hot key since the load ended.
func (c *hotCount) drained() (last time.Time, handler time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.drainTime / time.Duration(max(1, c.drainCalls))
}

// hottestRate returns the rate of the first hot key between two times, in messages a second: at most until its last message.
func (c *hotCount) hottestRate(from, to time.Time) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, last := 0, from
	for _, at := range c.hottest {
		if at.After(from) && !at.After(to) {
			n, last = n+1, at
		}
	}
	if n == 0 {
		return 0
	}
	return float64(n) / last.Sub(from).Seconds()
}

// coldLatencies returns the latencies of all measured messages. Those that are not handled have waited until now at least.
func (c *hotCount) coldLatencies() (all []time.Duration, unhandled int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all = append(all, c.latencies...)
	for _, a := range c.all {
		if c.load.measured(a) && a.seq >= c.next[a.key] {
			all = append(all, time.Since(c.start.Add(a.due)))
			unhandled++
		}
	}
	return all, unhandled
}

// violated returns the number of violations of the order.
func (c *hotCount) violated() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.violations
}
