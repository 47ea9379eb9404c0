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
	begun  map[Comment]bool // by the process that runs
	done   map[Comment]bool // handled by any process
	counts table            // from Violations to Outage
	// handled counts messages that were handled, each as often as that was.
	handled int
	// first and last are when the process that runs made its first and its last report.
	first, last time.Time
	// ran is the sum of last - first over the processes before.
	ran time.Duration
	// killed is when the last process was killed, until the next one begins with a message.
	killed time.Time
}

type post struct {
	handled int  // comments 1 to handled were handled
	running bool // one of its comments is being handled
	before  int  // handled when the process that runs was started
	last    int  // the comment that the process that runs began with last; 0: none
}

// state is what a demo waits for.
type state struct {
	handled  int           // different messages
	age      time.Duration // since the first report of the process
	reported time.Time     // when the process reported last; zero: never
}

func newCheck(messages int) *check {
	return &check{messages: messages, posts: map[string]*post{}, begun: map[Comment]bool{}, done: map[Comment]bool{}}
}

// starts records that another process is about to start. The one before has ended.
func (c *check) starts() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran += c.last.Sub(c.first)
	c.first, c.last, c.begun = time.Time{}, time.Time{}, map[Comment]bool{}
	for _, p := range c.posts {
		p.running, p.before, p.last = false, p.handled, 0
	}
}

// heard records one report of the process that runs.
func (c *check) heard(line string) {
	var kind byte
	var m Comment
	if _, err := fmt.Sscanf(line, "%c %s %d %d %d", &kind, &m.Post, &m.N, &m.Partition, &m.Offset); err != nil {
		return // not a report: something else has written to standard output
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
		c.counts.Violations++ // the comment before it was not handled, or this process began with another one before it
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

// crashed records that the process was killed, and what it had committed by then: everything else that it began may be
// handled again. All its reports were heard.
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

// result returns what was found so far, without the baseline.
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
