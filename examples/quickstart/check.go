package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// check follows what the members tell and holds it against what was promised.
type check struct {
	messages  int
	committed int // of what the killed process had begun
	bound     int

	mu         sync.Mutex
	posts      map[string]*post
	begun      map[comment]bool // by the process that runs
	done       map[comment]bool // settled by any process
	handled    int              // settled, again and again
	replayed   int
	violations int
	overlaps   int
	first      time.Time     // event of the process that runs
	last       time.Time     // event
	ran        time.Duration // from the first event of each earlier process to its last
}

type post struct {
	settled int  // comments 1 to settled are
	running bool // one of its comments is being handled
	before  int  // settled when the process that runs was started
	last    int  // comment that the process that runs began last; 0: none
}

type state struct {
	settled int
	age     time.Duration
}

func newCheck(messages int) *check {
	return &check{messages: messages, posts: map[string]*post{}, begun: map[comment]bool{}, done: map[comment]bool{}}
}

// process says that a new process is about to begin.
func (c *check) process() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran += c.last.Sub(c.first)
	c.first, c.last, c.begun = time.Time{}, time.Time{}, map[comment]bool{}
	for _, p := range c.posts {
		p.running, p.before, p.last = false, p.settled, 0
	}
}

// event takes a line of tell.
func (c *check) event(line string) {
	var kind byte
	var m comment
	if _, err := fmt.Sscanf(line, "%c %s %d %d %d", &kind, &m.post, &m.n, &m.partition, &m.offset); err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if c.first.IsZero() {
		c.first = c.last
	}
	p := c.posts[m.post]
	if p == nil {
		p = &post{}
		c.posts[m.post] = p
	}
	if kind == 's' {
		c.begins(p, m)
	} else {
		c.ends(p, m)
	}
}

func (c *check) begins(p *post, m comment) {
	if p.running {
		c.overlaps++
	}
	if m.n > p.settled+1 || p.last != 0 && m.n != p.last+1 {
		c.violations++ // one before it is not settled, or it does not follow the one before
	}
	if m.n <= p.before {
		c.replayed++
	}
	p.running, p.last = true, m.n
	c.begun[m] = true
}

func (c *check) ends(p *post, m comment) {
	p.running = false
	c.handled++
	p.settled = max(p.settled, m.n)
	c.done[m] = true
}

// crashed takes what the killed process had committed: all else that it began may be handled again.
func (c *check) crashed(committed func(comment) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := range c.begun {
		if committed(m) {
			c.committed++
		} else {
			c.bound++
		}
	}
}

// await shows a line of progress until enough is true.
func (c *check) await(ctx context.Context, enough func(state) bool, say func(string, ...any)) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c.mu.Lock()
		s := state{settled: len(c.done)}
		if !c.first.IsZero() {
			s.age = time.Since(c.first)
		}
		c.mu.Unlock()
		say("\r  %6d of %d settled", s.settled, c.messages)
		if enough(s) || ctx.Err() != nil {
			say("\n")
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// rate returns messages a second, over the time in which a process ran.
func (c *check) rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.handled) / (c.ran + c.last.Sub(c.first)).Seconds()
}

func (c *check) table() table {
	rate := c.rate()
	c.mu.Lock()
	defer c.mu.Unlock()
	return table{Keystrand: rate, Violations: c.violations, Overlaps: c.overlaps, Lost: c.messages - len(c.done), Replayed: c.replayed, Committed: c.committed, Bound: c.bound}
}
