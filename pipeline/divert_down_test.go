package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// outageOf makes one operation of the store of posts fail, or hang until its ctx ends, from a second on for 30 s.
func outageOf(op memory.Op, hangs bool) (began time.Time, strike func(ctx context.Context, c memory.Call) error) {
	began = time.Now().Add(time.Second)
	if op == memory.Open {
		began = time.Now()
	}
	return began, func(ctx context.Context, c memory.Call) error {
		left := time.Until(began.Add(30 * time.Second))
		switch {
		case c.Op != op || c.Stored || c.Owner.Stream != "posts" || time.Since(began) < 0 || left <= 0:
			return nil
		case !hangs:
			return errors.New("disk full")
		}
		select {
		case <-time.After(left):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// While the store is down its keys wait, then their partition. Other partitions go on, and nothing is committed that
// is not durable.
func TestStoreThatIsDownFor30sDelaysOnlyItsKeysAndThenTheirPartition(t *testing.T) { // seed 33
	for _, op := range []memory.Op{memory.Open, memory.Append, memory.Read, memory.Save} {
		for _, how := range []string{"fails", "hangs"} {
			for _, end := range []string{"goes on", "stopped", "killed"} {
				t.Run(fmt.Sprintf("%v %s, process %s", op, how, end), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { down(t, op, how == "hangs", end) })
				})
			}
		}
	}
}

func down(t *testing.T, op memory.Op, hangs bool, end string) {
	t.Helper()
	pl := newPlay(t)
	pl.work = 40 * time.Millisecond
	others := source.NewLog("others", 1)
	pl.more = []*source.Log{others}
	var out buffer
	pl.build = func(b *pipeline.Builder) {
		b.Limits(pipeline.Limits{KeyShare: 50, FetchMessages: 32}).Logger(out.logger())
	}
	var late atomic.Int64 // the latest message that must not be late
	pl.seen = func(m *keystrand.Message) {
		if m.Stream == "others" || string(m.Key) == "cold" && (op == memory.Read || op == memory.Save) {
			late.Store(max(late.Load(), int64(time.Since(m.Time))))
		}
	}
	began, fault := outageOf(op, hangs)
	pl.trouble = fault
	start0 := time.Now()
	go func() {
		for i := range 330 {
			m := keyed("other")
			m.Time = time.Now()
			others.Append(0, m)
			pl.put("cold")
			for range 10 {
				if i < 30 {
					pl.put("hot")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if i == 15 {
				pl.put("bad!")
			}
		}
	}()
	p := pl.process()
	sleepUntil := func(at time.Time) { time.Sleep(time.Until(at)) }

	sleepUntil(began.Add(4 * time.Second)) // the store may be needed 2 s after it is down
	if hangs {
		out.wantLine(t, 1, "a call has not returned; waiting", `level=WARN .*call=".* of the store for posts/0#1"`)
	} else {
		out.wantLine(t, 1, "store of diverted keys failed", `level=WARN .*n=1 partitions=posts/0 error=.*disk full`)
	}
	sleepUntil(began.Add(20 * time.Second))
	s := p.Snapshot()
	conserveDiverted(t, s)
	latest := began.Add(2500 * time.Millisecond)
	if op == memory.Save && hangs {
		latest = began.Add(11 * time.Second) // after a CommitTimeout
	}
	if d := s.Diverting; d.Err == nil || d.Since.Before(began) || d.Since.After(latest) {
		t.Errorf("the store is down since %v: %v, want an error since about %v", d.Since, d.Err, began)
	}
	if waits := p.partOf("posts").Waits; (waits == pipeline.WaitDivert) != (op == memory.Open || op == memory.Append) {
		t.Errorf("posts/0 waits for %v", waits)
	}
	switch end {
	case "stopped":
		stopping := time.Now()
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(stopping); took > 21*time.Second {
			t.Errorf("Run returned after %v", took)
		}
	case "killed":
		p.kill()
		_ = p.wait()
	}
	pl.ended()
	if end != "goes on" {
		sleepUntil(began.Add(29 * time.Second))
		p = pl.process()
	}
	sleepUntil(start0.Add(50 * time.Second))
	if end == "goes on" && !hangs {
		out.wantLine(t, 1, "store of diverted keys recovered", `level=INFO .*n=1 partitions=posts/0`)
		out.wantLine(t, 1, "store of diverted keys failed")
	}
	if d := p.Snapshot().Diverting; d.Err != nil || !d.Since.IsZero() {
		t.Errorf("the store works, and is down since %v: %v", d.Since, d.Err)
	}
	p.operate()
	time.Sleep(5 * time.Second)
	if !pl.over() {
		t.Errorf("not all is handled: %+v", p.Snapshot())
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	pl.check()
	if end != "killed" && op != memory.Save {
		pl.checkReplays(0)
	}
	if end == "goes on" && late.Load() > int64(100*time.Millisecond) {
		t.Errorf("a message of another partition or key was %v late", time.Duration(late.Load()))
	}
}

// A call that ignores its ctx does not keep Run from returning, and its error names the call.
func TestRunReturnsAlthoughACallOfTheStoreIgnoresItsContext(t *testing.T) {
	for _, op := range []memory.Op{memory.Open, memory.Append, memory.Read, memory.Save} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.build = func(b *pipeline.Builder) {
					b.Limits(pipeline.Limits{KeyShare: 8}).Timing(pipeline.Timing{DrainTimeout: 3 * time.Second, CloseTimeout: 4 * time.Second})
				}
				let := make(chan struct{})
				pl.strike = func(_ int, c memory.Call) error {
					if c.Op == op && !c.Stored {
						<-let
					}
					return nil
				}
				burst := slices.Repeat([]string{"hot"}, 50)
				pl.put(append(burst, "bad!", "bad")...)
				p := pl.process()
				time.Sleep(100 * time.Millisecond)
				pl.put(burst...)
				time.Sleep(3 * time.Second)
				stopping := time.Now()
				err := p.stop()
				if took := time.Since(stopping); took > 13*time.Second {
					t.Errorf("Run returned after %v", took)
				}
				var stuck *pipeline.StuckError
				if !errors.As(err, &stuck) || !strings.Contains(err.Error(), "of the store for posts/0") {
					t.Errorf("Run = %v, want a StuckError that names the store", err)
				}
				close(let)
			})
		})
	}
}
