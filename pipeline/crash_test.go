package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// I1, I3, I4: crashes at random moments, with slow and failing handlers. Nothing is lost, each key stays in
// order, replays begin at a message that no commit has settled, and each commit has everything settled before it.
func TestCrashesAtRandomMomentsLoseNothingAndKeepTheOrder(t *testing.T) { // seed 31
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := random(t, seed)
				d := &dice{r: r}
				l := newLedger(t)
				log := memory.NewLog("posts", 3)
				fill(l, log, 3, 500, 20, r)
				log.Close()
				h := l.handler(func(ctx context.Context, _ *keystrand.Message) error {
					work := time.Duration(d.roll(40)) * time.Millisecond
					if d.roll(50) == 0 {
						work = time.Second
					}
					select {
					case <-time.After(work):
					case <-ctx.Done():
						return ctx.Err()
					}
					switch d.roll(15) {
					case 0:
						return errors.New("failed")
					case 1:
						panic("boom")
					}
					return nil
				})
				for crash := 0; ; crash++ {
					if crash > 200 {
						t.Fatal("no progress")
					}
					mem := memory.NewSource(memory.Config{}, log)
					run := start(t, pipeline.From(watch(t, mem, l)).
						Use(middleware.Retry(middleware.RetryPolicy{Forever: true, Initial: 20 * time.Millisecond, MaxDelay: time.Second})).
						Handle(h).
						Limits(pipeline.Limits{Workers: 1 + d.roll(20), FetchMessages: 1 + d.roll(100)}).
						Timing(pipeline.Timing{CommitInterval: time.Duration(50+d.roll(200)) * time.Millisecond}))
					if crash < 10 {
						time.Sleep(time.Duration(d.roll(900)) * time.Millisecond)
						mem.Crash()
					}
					err := run.wait()
					if err == nil {
						break
					}
					if !errors.Is(err, memory.ErrCrashed) {
						t.Fatal(err)
					}
				}
				l.checkAllSettled()
				for p := range int32(3) {
					_, end := log.Bounds(p)
					if c := log.Group("").Committed(p); c.Frontier != end {
						t.Errorf("partition %d: committed frontier %d, want %d", p, c.Frontier, end)
					}
				}
			})
		})
	}
}

// I4, I6: one key is stuck, every other message leaves a gap, and a commit can keep almost nothing. A crash replays at
// most MaxReplay messages, only that partition waits, and the snapshot gives the reason.
func TestReplaysOfACrashStayWithinMaxReplay(t *testing.T) { // seed 32
	synctest.Test(t, func(t *testing.T) {
		const maxReplay, inFlight = 300, 1000
		l := newLedger(t)
		log := memory.NewLog("posts", 2)
		put := func(p int32, key string) { l.put(p, log.Append(p, keyed(key))-1, key) }
		for i := range 4000 {
			for p := range int32(2) {
				key := fmt.Sprintf("k%d", i)
				if p == 0 && (i == 0 || i%(2+i%5) == 0 && i < 400) {
					key = "stuck"
				}
				put(p, key)
			}
		}
		stuck := true
		h := l.handler(func(ctx context.Context, m *keystrand.Message) error {
			if string(m.Key) == "stuck" && stuck {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		mem := memory.NewSource(memory.Config{CommitLimit: 40}, log)
		run := start(t, pipeline.From(watch(t, mem, l)).Handle(h).Limits(pipeline.Limits{
			Workers: 8, MaxReplay: maxReplay, InFlight: inFlight, FetchMessages: 64,
		}))
		time.Sleep(10500 * time.Millisecond)
		synctest.Wait()
		p0, p1 := run.part(t, 0), run.part(t, 1)
		if p0.Waits != pipeline.WaitReplay || run.Snapshot().Bottleneck != pipeline.BottleneckCommit {
			t.Errorf("I4: partition 0 waits for %v, the bottleneck is %v; want MaxReplay and commit", p0.Waits, run.Snapshot().Bottleneck)
		}
		if p0.Replays > maxReplay {
			t.Errorf("I4: a crash now would replay %d settled messages, MaxReplay is %d", p0.Replays, maxReplay)
		}
		if p1.Frontier != 4000 || p1.Waits != pipeline.WaitSource {
			t.Errorf("I6: partition 1: frontier %d, waits for %v; want it at its end", p1.Frontier, p1.Waits)
		}
		if o := p0.Oldest; o == nil || o.Key != "stuck" || o.Why != pipeline.WhyHandler || o.Offset != 0 || o.Age < 10*time.Second {
			t.Errorf("the oldest unsettled message is %+v, want the stuck key's, with WhyHandler", o)
		}
		settled := p0.Settled
		mem.Crash()
		_ = run.wait()
		stuck = false
		log.Close()
		again := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).Handle(h))
		if err := again.wait(); err != nil {
			t.Fatal(err)
		}
		l.checkAllSettled()
		if n := l.repeats(); int64(n) > p0.Replays || n > maxReplay {
			t.Errorf("I4: %d of %d settled messages were handled again; Snapshot said %d, MaxReplay is %d", n, settled, p0.Replays, maxReplay)
		}
	})
}
