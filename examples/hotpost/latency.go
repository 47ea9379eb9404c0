package main

import (
	"math"
	"slices"
	"sync"
	"time"
)

// latencies has the time from when each comment was due until it was handled. The viral post is counted, not timed.
type latencies struct {
	mu      sync.Mutex
	due     []time.Duration // of the other posts, ascending
	handled []time.Duration // when, since the start of the load; 0: not yet
	index   map[name]int    // in due and handled
	viral   int             // comments of the viral post that were handled
}

// name identifies a comment.
type name struct {
	post string
	n    int
}

func newLatencies(comments []comment) *latencies {
	l := &latencies{index: map[name]int{}}
	for _, c := range comments {
		if c.post != viral {
			l.index[name{c.post, c.n}] = len(l.due)
			l.due = append(l.due, c.due)
		}
	}
	l.handled = make([]time.Duration, len(l.due))
	return l
}

// handles records that a comment was handled. A comment counts when it is handled first.
func (l *latencies) handles(post string, n int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if post == viral {
		l.viral = max(l.viral, n)
		return
	}
	if i, ok := l.index[name{post, n}]; ok && l.handled[i] == 0 {
		l.handled[i] = at
	}
}

// recent returns the p99 of the comments that were handled during the last second before at, or wait at that time; 0
// if there are none.
func (l *latencies) recent(at time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for i, due := range l.due {
		switch h := l.handled[i]; {
		case due > at:
			return p99(all)
		case h == 0 || h > at:
			all = append(all, at-due)
		case h > at-time.Second:
			all = append(all, h-due)
		}
	}
	return p99(all)
}

// between returns the p99 of the comments that are due from one time until another, and how many are not handled at the
// time at. These count with the time that they have waited until then.
func (l *latencies) between(from, to, at time.Duration) (p time.Duration, unhandled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for i, due := range l.due {
		switch h := l.handled[i]; {
		case due < from || due >= to:
		case h == 0 || h > at:
			all = append(all, at-due)
			unhandled++
		default:
			all = append(all, h-due)
		}
	}
	return p99(all), unhandled
}

// viralHandled returns how many comments of the viral post were handled.
func (l *latencies) viralHandled() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.viral
}

// p99 returns the smallest of all that at least 99 % do not exceed; 0 if there are none. It sorts all.
func p99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(math.Ceil(0.99*float64(len(all))))-1]
}
