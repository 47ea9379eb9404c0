package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// Checks order (I1, I2), other keys (I6), the fence (I7), conservation (I9) and no loss (I3) for every combination of
// what a key waits for, its lanes, and how its partition ends.
func TestCompletionKeepsEveryInvariant(t *testing.T) {
	for _, lanes := range []string{"one lane", "two lanes", "barrier"} {
		for _, work := range []string{"handler", "batch handler", "sink", "dead letter"} {
			for _, mood := range []string{"ok", "slow", "failing", "hanging"} {
				for _, leave := range []string{"stays", "revoked", "lost"} {
					t.Run(strings.Join([]string{lanes, work, mood, leave}, ", "), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { newCell(t, lanes, work, mood, leave).play() })
					})
				}
			}
		}
	}
}

// cell is one combination: a pipeline with two workers and two partitions. In partition 0, keys that begin with "bad"
// are slow, fail or hang.
type cell struct {
	t                        *testing.T
	lanes, work, mood, leave string

	l    *ledger
	log  *memory.Log
	mem  *memory.Source
	run  *running
	to   *ways
	over chan struct{} // closed: bad messages no longer hang or fail

	began   time.Time
	first   int64        // offset of the first bad message
	fenced  atomic.Bool  // partition 0 is revoked or lost, and fenced
	storing atomic.Int32 // number of bad messages that the sink is storing
}

func newCell(t *testing.T, lanes, work, mood, leave string) *cell {
	t.Helper()
	c := &cell{
		t: t, lanes: lanes, work: work, mood: mood, leave: leave,
		l: newLedger(t), log: memory.NewLog("posts", 2), over: make(chan struct{}),
	}
	c.to = &ways{Sink: sinkmemory.New(), of: map[string]int{}, bad: map[int]bool{}}
	c.to.SetFault(c.store)
	c.l.ahead = func(lane string) bool { // these lanes rely on the order of their writer
		return work == "sink" && (lanes == "one lane" || !isBad(lane))
	}
	c.mem = memory.NewSource(memory.Config{}, c.log)
	c.run = start(t, c.build(c.mem))
	return c
}

func (c *cell) build(mem *memory.Source) *pipeline.Builder {
	b := pipeline.From(watch(c.t, mem, c.l)).Limits(pipeline.Limits{Workers: 2, InFlight: 20_000}).
		Timing(pipeline.Timing{DrainTimeout: 2 * time.Second}).
		Key(func(m *keystrand.Message) (keystrand.Key, error) {
			switch {
			case c.lanes == "one lane" || !bad(m):
				return keystrand.ByKey(m)
			case c.lanes == "barrier":
				return keystrand.Barrier(), nil
			}
			return keystrand.KeysOf(string(m.Key), string(m.Key)+" too"), nil
		})
	switch c.work {
	case "handler":
		return b.Handle(c.l.handler(c.handle))
	case "dead letter":
		return b.Handle(c.l.handler(c.handle)).OnFailure(pipeline.DeadLetter(c.to))
	case "sink":
		return b.Transform(keystrand.TransformerFunc(func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			c.l.begin(m)
			defer c.l.end(m, errPending)
			emit(*m)
			return c.handle(ctx, m)
		})).To(c.to)
	}
	return b.HandleBatch(keystrand.BatchHandlerFunc(func(ctx context.Context, ms []*keystrand.Message) error {
		for i, m := range ms {
			c.l.begin(m)
			var err error
			if i == 0 { // all of the batch or nothing
				err = c.handle(ctx, m)
			}
			if c.l.end(m, err); err != nil {
				return err
			}
		}
		return nil
	}))
}

var errPending = errors.New("handled, its effect is not durable yet")

// isBad reports whether messages of the key are slow, fail or hang.
func isBad(key string) bool { return strings.HasPrefix(key, "bad") }

func bad(m *keystrand.Message) bool { return isBad(string(m.Key)) }

// outside reports whether bad messages wait outside their turn.
func (c *cell) outside() bool { return c.work == "sink" || c.work == "dead letter" }

func (c *cell) handle(ctx context.Context, m *keystrand.Message) error {
	if c.fenced.Load() && m.Partition == 0 && m.Epoch == 1 {
		c.t.Errorf("I7: %d of key %s starts after the fence", m.Offset, m.Key)
	}
	if bad(m) && !c.l.ahead(string(m.Key)) && c.leave != "stays" && c.storing.Load() > 0 {
		c.t.Errorf("I2: epoch %d handles %d of key %s while an effect of the key is under way", m.Epoch, m.Offset, m.Key)
	}
	switch {
	case !bad(m), c.work == "sink":
		return nil
	case c.work == "dead letter":
		return errBoom
	}
	err := c.act(ctx)
	if err != nil && ctx.Err() == nil {
		return keystrand.RetryAfter(time.Second, err)
	}
	return err
}

// store is the Write of the sink and of the dead-letter sink.
func (c *cell) store(ctx context.Context, m *keystrand.Message) error {
	if bad(m) {
		c.storing.Add(1)
		defer c.storing.Add(-1)
		if c.mood == "hanging" {
			ctx = context.WithoutCancel(ctx) // a Write that hangs also ignores its ctx
		}
		if err := c.act(ctx); err != nil {
			return err
		}
	}
	c.l.durable(m)
	return nil
}

// act behaves as the cell's mood says: it is slow, fails or hangs.
func (c *cell) act(ctx context.Context) error {
	var wait <-chan time.Time
	switch c.mood {
	case "ok":
		return nil
	case "slow":
		wait = time.After(3 * time.Second)
	case "failing":
		if c.healed() {
			return nil
		}
		return errors.New("away")
	}
	select {
	case <-wait:
		return nil
	case <-c.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cell) healed() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// play runs the cell.
func (c *cell) play() {
	c.add(0, "", 20) // learn which writer each key goes to
	c.add(1, "", 20)
	c.wait(1)
	c.began = time.Now()
	c.add(0, "", 20)
	c.first = c.add(0, "bad", 3)
	c.add(0, "", 20)
	c.add(1, "", 20)
	c.wait(5)
	if c.leave == "stays" {
		c.crowd()
	} else {
		c.add(0, "", 20)
		c.add(0, "bad", 3)
		synctest.Wait()
		if c.leave == "lost" {
			c.mem.Lose("posts", 0)
		} else {
			c.mem.Revoke("posts", 0)
		}
		synctest.Wait()
		c.fenced.Store(true)
	}
	c.wait(10)
	c.checkOwner()
	c.add(0, "", 20)
	c.add(1, "", 20)
	c.wait(5)
	close(c.over)
	time.Sleep(time.Minute)
	c.check()
	if err := c.run.stop(); err != nil {
		c.t.Fatal(err)
	}
	if n := c.run.Tokens(); n != 0 {
		c.t.Errorf("%d tokens still wait", n)
	}
	if s := c.run.Snapshot(); s.InFlight != 0 || s.InFlightBytes != 0 {
		c.t.Errorf("I9: after Run in flight: %d messages, %d bytes", s.InFlight, s.InFlightBytes)
	}
	c.log.Close()
	if err := start(c.t, c.build(memory.NewSource(memory.Config{}, c.log))).wait(); err != nil {
		c.t.Fatal(err)
	}
	c.l.checkAllSettled()
}

// add appends n messages: bad ones with one key, others with ten keys that the other partition does not have.
func (c *cell) add(partition int32, bad string, n int) (first int64) {
	for i := range n {
		key := bad
		if bad == "" {
			key = fmt.Sprintf("p%d-k%d", partition, i%10)
		}
		_, end := c.log.Bounds(partition)
		c.l.put(partition, end, key)
		c.log.Append(partition, keyed(key))
		if i == 0 {
			first = end
		}
	}
	return first
}

// wait lets seconds pass and checks at the beginning and after each of them.
func (c *cell) wait(seconds int) {
	time.Sleep(10 * time.Millisecond) // lanes behind a stuck turn are taken over within 1 ms
	c.check()
	for range seconds {
		time.Sleep(time.Second)
		c.check()
	}
}

// check checks what must hold whenever nothing runs.
func (c *cell) check() {
	c.t.Helper()
	synctest.Wait()
	s := c.run.Snapshot()
	if n := conserve(c.t, s); len(s.Partitions) == 2 && n != int64(s.InFlight) {
		c.t.Errorf("I9: %d messages in flight, %d in lanes and on the way to a sink", s.InFlight, n)
	}
	if c.outside() && s.Running != 0 {
		c.t.Errorf("I6: %d workers are busy after %v", s.Running, time.Since(c.began))
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	late := 0
	for at, key := range c.l.lanes {
		if c.l.settled[at] == 0 && !c.mayWait(at, key) {
			late++
		}
	}
	if late > 0 {
		c.t.Errorf("I6: %d messages are not settled %v after the bad ones were added", late, time.Since(c.began))
	}
}

// checkOwner checks that partition 0 is released after the drain, unless it was lost, but not while a Write ignores the
// end of its ctx.
func (c *cell) checkOwner() {
	want := int64(2)
	if c.leave == "stays" || c.leave == "revoked" && c.outside() && c.mood == "hanging" {
		want = 1
	}
	if e := c.log.Group("").Epoch(0); e != want {
		c.t.Errorf("I7: epoch %d after 10 s, want %d", e, want)
	}
}

// mayWait reports whether a message may still be unsettled.
func (c *cell) mayWait(at place, key string) bool {
	away := c.fenced.Load() && at.partition == 0 && c.log.Group("").Epoch(0) == 1 // the next owner does not have it yet
	switch {
	case c.healed() || c.mood == "ok":
		return away
	case isBad(key):
		return true
	case c.lanes == "barrier" && at.partition == 0 && at.at >= c.first: // behind the barrier
		return true
	}
	return away || c.mood != "failing" && c.to.held(key) // its writer has a Write in flight
}

// crowd checks that messages waiting outside cost no goroutines, for any number of them.
func (c *cell) crowd() {
	if !c.outside() || c.mood == "ok" || c.mood == "slow" {
		return
	}
	var goroutines [2]int
	for i, n := range []int{10, 1000} {
		for k := range n {
			c.add(0, fmt.Sprintf("bad%d-%d", i, k), 1)
		}
		c.wait(1)
		goroutines[i] = runtime.NumGoroutine()
	}
	if goroutines[1] > goroutines[0] {
		c.t.Errorf("%d goroutines while 10 messages wait outside, but %d while 1,010 wait", goroutines[0], goroutines[1])
	}
}
