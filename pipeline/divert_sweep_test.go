package pipeline_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
)

// What happens to a process at one of its calls of the store, before the call is done or after it.
var strikes = []struct {
	name   string
	every  int           // strikes at every so many calls; odd, since calls before and after alternate
	within time.Duration // replays are at most so old; negative: not checked
	limit  int           // CommitLimit of the source
	do     func(p *process, c memory.Call) error
}{
	{"killed", 1, 1100 * time.Millisecond, 0, func(p *process, _ memory.Call) error {
		p.kill()
		return errors.New("killed")
	}},
	{"killed, commits hold one range", 3, -1, 6, func(p *process, _ memory.Call) error {
		p.kill()
		return errors.New("killed")
	}},
	{"the call fails", 1, 0, 0, func(*process, memory.Call) error { return errors.New("not now") }},
	{"the call stores a part", 5, 0, 0, func(_ *process, c memory.Call) error {
		return &memory.PartError{N: len(c.Records) / 2, Err: errors.New("not now")}
	}},
	{"stopped", 5, 0, 0, func(p *process, _ memory.Call) error {
		p.pl.ended()
		p.cancel(nil)
		return nil
	}},
	{"revoked", 5, 0, 0, func(p *process, _ memory.Call) error {
		p.pl.ended()
		p.mem.Revoke("posts", 0)
		return nil
	}},
}

// Nothing is lost, order holds for the last effect of each message too, and at most one commit interval is
// handled again, whatever happens at any call of the store.
func TestDivertedKeysSurviveAFaultAtEachCallOfTheStore(t *testing.T) { // seeds 33, 34
	for _, s := range strikes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for n, struck := 0, true; struck; n += s.every {
				ok := t.Run(fmt.Sprint("call ", n), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						pl := newPlay(t)
						pl.cfg.CommitLimit = s.limit
						struck = pl.sweep(n, s.do)
						pl.check()
						if s.within >= 0 {
							pl.checkReplays(s.within)
						}
					})
				})
				if !ok {
					return
				}
			}
		})
	}
}

// sweep plays the scenario, in which keys turn hot, fail, and meet messages of several lanes and barriers. It strikes at call n
// of the store and reports whether there was such a call.
func (pl *play) sweep(n int, do func(*process, memory.Call) error) (struck bool) {
	pl.build = func(b *pipeline.Builder) {
		b.Limits(pipeline.Limits{Workers: 16, KeyShare: 8, FetchMessages: 16})
	}
	pl.seen = func(m *keystrand.Message) { // the frontier waits for these
		if strings.HasPrefix(string(m.Key), "slow") {
			time.Sleep(1700 * time.Millisecond)
		}
	}
	pl.strike = func(at int, c memory.Call) error {
		if at != n {
			return nil
		}
		struck = true
		return do(pl.latest(), c)
	}
	began := time.Now()
	go func() {
		pl.put("slow1", "hot", "cold", "slow2", "hot", "cold", "slow3", "hot", "slow4", "cold", "slow5")
		pl.put("drop!", "skip!", "resume!", "drop", "skip", "resume")
		pl.put(slices.Repeat([]string{"hot"}, 20)...)
		pl.put("drop", "skip", "resume", "hot+cold", "hot", "cold")
		time.Sleep(1500 * time.Millisecond)
		pl.put("resume+cold", "hot", "skip", "all", "cold", "hot")
		time.Sleep(1500 * time.Millisecond)
		pl.put(slices.Repeat([]string{"hot", "hot", "hot", "again"}, 6)...)
		pl.put("again!", "again", "drop", "resume")
	}()
	p := pl.process()
	for !pl.over() || time.Since(began) < 5*time.Second {
		if time.Since(began) > 5*time.Minute {
			pl.t.Fatalf("it never ends: %+v", p.Snapshot())
		}
		select {
		case <-p.running.over:
			p = pl.process()
		case <-time.After(500 * time.Millisecond):
		}
		if time.Since(began) > 2*time.Second {
			p.operate()
		}
		conserveDiverted(pl.t, p.Snapshot())
	}
	if err := p.stop(); err != nil {
		pl.t.Error(err)
	}
	if n := pl.store.Logs(); n != 0 {
		pl.t.Errorf("%d logs are open after Run", n)
	}
	return struck
}

// conserveDiverted checks I9 of the messages in the store.
func conserveDiverted(t *testing.T, s pipeline.Snapshot) {
	t.Helper()
	conserve(t, s)
	for _, p := range s.Partitions {
		if d := p.Diverting; d.Restored+d.Appended != d.Drained+d.Discarded+d.Records || d.Records < 0 || d.Bytes < 0 {
			t.Errorf("I9: restored %d + appended %d != drained %d + discarded %d + records %d; %d bytes", d.Restored, d.Appended, d.Drained, d.Discarded, d.Records, d.Bytes)
		}
	}
}
