package show

import (
	"fmt"
	"sync"
	"time"
)

// A Check compares what the processes report with what keystrand promises. It is safe for concurrent use.
type Check struct {
	messages int

	mu     sync.Mutex
	posts  map[string]*post
	begun  map[Comment]bool // begun by the running process
	done   map[Comment]bool // handled by any process
	counts Counts
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

// NewCheck returns a Check of a topic with that many messages.
func NewCheck(messages int) *Check {
	return &Check{messages: messages, posts: map[string]*post{}, begun: map[Comment]bool{}, done: map[Comment]bool{}}
}

// Starts records that another process is about to start. The earlier one has ended.
func (c *Check) Starts() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran += c.last.Sub(c.first)
	c.first, c.last, c.begun = time.Time{}, time.Time{}, map[Comment]bool{}
	for _, p := range c.posts {
		p.running, p.before, p.last = false, p.handled, 0
	}
}

// Heard records one report of the running process. It returns the comment if the line reports that it was handled.
func (c *Check) Heard(line string) (m Comment, handled bool) {
	var kind byte
	if _, err := fmt.Sscanf(line, "%c %s %d %d %d", &kind, &m.Post, &m.N, &m.Partition, &m.Offset); err != nil {
		return Comment{}, false // not a report, but other text on standard output
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
		return Comment{}, false
	}
	c.endsLocked(p, m)
	return m, true
}

func (c *Check) beginsLocked(p *post, m Comment) {
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

func (c *Check) endsLocked(p *post, m Comment) {
	p.running = false
	p.handled = max(p.handled, m.N)
	c.handled++
	c.done[m] = true
}

// Crashed records that the process was killed, and the comments that it had committed. All others that it began may be
// handled again. Call it after the last report of the process.
func (c *Check) Crashed(at time.Time, committed func(Comment) bool) {
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

func (c *Check) state() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := state{handled: len(c.done), reported: c.last}
	if !c.first.IsZero() {
		s.age = time.Since(c.first)
	}
	return s
}

// Handled reports whether any process has handled the comment.
func (c *Check) Handled(m Comment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done[m]
}

// Result returns the counts so far.
func (c *Check) Result() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.counts
	t.Lost = c.messages - len(c.done)
	return t
}

// rate returns messages a second, repeats included, while a process ran.
func (c *Check) rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran := c.ran + c.last.Sub(c.first)
	if ran <= 0 {
		return 0
	}
	return float64(c.handled) / ran.Seconds()
}
