package show

import (
	"fmt"
	"sync"
	"time"
)

// check compares what the processes report with what keystrand promises.
type check struct {
	messages int

	mu     sync.Mutex
	posts  map[string]*post
	begun  map[Comment]bool // begun by the running process
	done   map[Comment]bool // handled by any process
	counts table            // from Violations to Outage
	// handled counts successful handlings, repeats included.
	handled int
	// first and last are the times of the running process's first and last reports.
	first, last time.Time
	// ran is the sum of last - first over the earlier processes.
	ran time.Duration
	// killed is when the last process was killed; zero once the next one has begun a message.
	killed time.Time
}

type post struct {
	handled int  // comments 1 to handled were handled
	running bool // one of its comments is being handled
	before  int  // handled when the running process was started
	last    int  // the comment that the running process began last; 0: none
}

// state is what a demo waits for.
type state struct {
	handled  int           // different messages
	age      time.Duration // since the first report of the process
	reported time.Time     // of the process's last report; zero: none
}

func newCheck(messages int) *check {
	return &check{messages: messages, posts: map[string]*post{}, begun: map[Comment]bool{}, done: map[Comment]bool{}}
}

// starts records that another process is about to start. The earlier one has ended.
func (c *check) starts() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran += c.last.Sub(c.first)
	c.first, c.last, c.begun = time.Time{}, time.Time{}, map[Comment]bool{}
	for _, p := range c.posts {
		p.running, p.before, p.last = false, p.handled, 0
	}
}

// heard records one report of the running process.
func (c *check) heard(line string) {
	var kind byte
	var m Comment
	if _, err := fmt.Sscanf(line, "%c %s %d %d %d", &kind, &m.Post, &m.N, &m.Partition, &m.Offset); err != nil {
		return // not a report, but other text on standard output
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if c.first.IsZero() {
		c.first = c.last
		if !c.killed.IsZero() {
			c.counts.Outage, c.killed = c.first.Sub(c.killed).Seconds(), time.Time{}
		}
	}
	p := c.posts[m.Post]
	if p == nil {
		p = &post{}
		c.posts[m.Post] = p
	}
	if kind == 'b' {
		c.beginsLocked(p, m)
	} else {
		c.endsLocked(p, m)
	}
}

func (c *check) beginsLocked(p *post, m Comment) {
	if p.running {
		c.counts.Overlaps++
	}
	if m.N > p.handled+1 || p.last != 0 && m.N != p.last+1 {
		c.counts.Violations++ // the comment before it is not handled, or this process skipped one
	}
	if m.N <= p.before {
		c.counts.Replayed++
	}
	p.running, p.last = true, m.N
	c.begun[m] = true
}

func (c *check) endsLocked(p *post, m Comment) {
	p.running = false
	p.handled = max(p.handled, m.N)
	c.handled++
	c.done[m] = true
}

// crashed records that the process was killed, and the comments that it had committed. All others that it began may be
// handled again. Call it after the last report of the process.
func (c *check) crashed(at time.Time, committed func(Comment) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = at
	for m := range c.begun {
		if committed(m) {
			c.counts.Committed++
		} else {
			c.counts.Bound++
		}
	}
}

func (c *check) state() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := state{handled: len(c.done), reported: c.last}
	if !c.first.IsZero() {
		s.age = time.Since(c.first)
	}
	return s
}

// result returns the results so far, without the baseline.
func (c *check) result() table {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.counts
	t.Lost = c.messages - len(c.done)
	if ran := c.ran + c.last.Sub(c.first); ran > 0 {
		t.Keystrand = float64(c.handled) / ran.Seconds()
	}
	return t
}
