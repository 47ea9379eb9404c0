package console

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

var start = time.Date(2026, 12, 1, 14, 0, 0, 0, time.UTC)

// at returns a time so many seconds before the snapshot.
func at(secondsAgo int) time.Time { return start.Add(-time.Duration(secondsAgo) * time.Second) }

// running returns a pipeline with 8 partitions that keeps up, and the snapshot of ten seconds before.
func running() (now, before pipeline.Snapshot) {
	s := pipeline.Snapshot{
		Name: "saves", State: pipeline.Running, At: start, Started: at(3600), Workers: 256, Running: 10, Settled: 100_000, Turns: 100_000, Busy: 5000 * time.Second,
		Limits: pipeline.Limits{Workers: 256, InFlight: 5120, InFlightBytes: 1 << 20, KeyShare: 5000, MaxReplay: 100_000, DivertBytes: 1 << 30},
		Source: source.Report{State: "member", Ready: true},
	}
	for n := range int32(8) {
		s.Partitions = append(s.Partitions, pipeline.PartitionSnapshot{
			ID: source.ID{Stream: "comments", Partition: n, Epoch: 1}, Frontier: 1000, Position: 1000, End: 1000, LogEnd: 1000, Waits: pipeline.WaitSource, InFlight: 5,
		})
	}
	before = s
	before.Partitions = slices.Clone(s.Partitions)
	before.At, before.Settled, before.Turns, before.Busy = at(10), 99_000, 99_000, 4950*time.Second
	return s, before
}

func hotKey() pipeline.KeySnapshot {
	return pipeline.KeySnapshot{Key: "post-9", Waiting: 5000, Offset: 1000, Age: 40 * time.Second, Since: at(32), Attempt: 1, Why: pipeline.WhyHandler}
}

// waitsForKey makes partition 3 wait for the share of a key.
func waitsForKey(s *pipeline.Snapshot) {
	k := hotKey()
	p := &s.Partitions[3]
	p.Waits, p.HotKeys, p.Oldest = pipeline.WaitKey, []pipeline.KeySnapshot{k}, &k
	s.Bottleneck = pipeline.BottleneckBudget
}

func TestDiagnoseSaysEachThingInOneSentence(t *testing.T) {
	errDown := errors.New("no coordinator")
	for _, c := range []struct {
		name   string
		change func(now, before *pipeline.Snapshot)
		want   []string // all findings
	}{
		{"keeps up", func(_, _ *pipeline.Snapshot) {}, []string{"info: saves keeps up: 100/s settled."}},
		{"keeps up, without an earlier snapshot", func(_, before *pipeline.Snapshot) { *before = pipeline.Snapshot{} }, []string{"info: saves keeps up."}},
		{"another Run before", func(_, before *pipeline.Snapshot) { before.Started = at(7200) }, []string{"info: saves keeps up."}},
		{
			"no partitions", func(now, _ *pipeline.Snapshot) { now.Partitions = nil },
			[]string{"info: saves owns no partition: other members of its group may have all."},
		},

		{"built", func(now, _ *pipeline.Snapshot) { now.State = pipeline.Built }, []string{"failing: saves does not run: Run was not called."}},
		{
			"stopping", func(now, _ *pipeline.Snapshot) { now.State, now.Partitions = pipeline.Stopping, now.Partitions[:1] },
			[]string{"failing: saves is stopping: 1 partition left to release."},
		},
		{"stopped", func(now, _ *pipeline.Snapshot) { now.State = pipeline.Stopped }, []string{"failing: saves has stopped: 100,000 messages were settled."}},

		{"source trouble", func(now, _ *pipeline.Snapshot) {
			now.Source.Trouble = []source.Trouble{{What: "commit", Err: errDown, Since: at(32)}}
		}, []string{"failing: commit fails at the source for 32 s: no coordinator."}},
		{
			"stalled", func(now, _ *pipeline.Snapshot) { now.Source.Stalled = []source.ID{now.Partitions[3].ID} },
			[]string{"failing: Nothing arrives from the source for 1 partition with a backlog, such as comments/3."},
		},
		{
			"joining", func(now, _ *pipeline.Snapshot) { now.Source.State, now.Source.Ready = "joining", false },
			[]string{`waiting: The source does not take part in its group yet: it is "joining".`},
		},
		{"sink", func(now, _ *pipeline.Snapshot) {
			now.Sinks = []pipeline.SinkTrouble{{Sink: "topic out", Err: errDown, Since: at(200)}}
		}, []string{"failing: The sink topic out cannot be written for 3 min 20 s: no coordinator."}},
		{"store", func(now, _ *pipeline.Snapshot) {
			now.Diverting = pipeline.DivertSnapshot{Strands: 2, Err: errDown, Since: at(3600)}
		}, []string{"failing: The store of diverted keys fails for 1 h: no coordinator; 2 diverted keys wait."}},
		{"lost", func(now, before *pipeline.Snapshot) {
			before.Source.Losses.Count = 1
			now.Source.Losses = source.Losses{Count: 2, Last: now.Partitions[3].ID, At: at(5), Why: "the session timed out"}
		}, []string{"failing: 2 ownerships were lost in all, the last 5 s ago: comments/3, because the session timed out. Its messages were handled again, or by two processes at once."}},
		{"lost long ago", func(now, before *pipeline.Snapshot) {
			now.Source.Losses = source.Losses{Count: 2, Last: now.Partitions[3].ID, At: at(1200), Why: "the session timed out"}
			before.Source.Losses = now.Source.Losses
		}, []string{"info: saves keeps up: 100/s settled."}},
		{"commits", func(now, _ *pipeline.Snapshot) {
			for _, n := range []int{2, 5} {
				p := &now.Partitions[n]
				p.CommitErr, p.CommitErrSince, p.Committed, p.Ahead = errDown, at(20+n), 900, 7
			}
		}, []string{"failing: Commits of 2 partitions fail, of comments/5 for 25 s: no coordinator. A crash now would repeat up to 214 messages."}},
		{"stuck", func(now, _ *pipeline.Snapshot) {
			p := &now.Partitions[3]
			p.Leaving = &pipeline.LeavingSnapshot{Cause: keystrand.ErrLeaving, Since: at(60), Until: at(40)}
			p.Stuck, p.StuckKeys = 2, []string{"post-9", "post-7"}
		}, []string{"failing: comments/3: 2 handlers have not returned although the ctx has ended, such as that of post-9; the release waits."}},
		{"slow release", func(now, _ *pipeline.Snapshot) {
			k := hotKey()
			p := &now.Partitions[3]
			p.Leaving, p.Oldest = &pipeline.LeavingSnapshot{Cause: keystrand.ErrLeaving, Since: at(12), Until: at(-8)}, &k
		}, []string{"waiting: comments/3 is being released for 12 s: post-9 holds it up, its handler runs for 32 s (attempt 2); its ctx ends in 8 s."}},
		{"quick release", func(now, _ *pipeline.Snapshot) {
			now.Partitions[3].Leaving = &pipeline.LeavingSnapshot{Cause: keystrand.ErrLeaving, Since: at(2)}
		}, []string{"info: saves keeps up: 100/s settled."}},

		{"waits for a key", func(now, _ *pipeline.Snapshot) { waitsForKey(now) }, []string{
			"waiting: comments/3 waits for KeyShare: post-9 has 5,000 of 5,000 messages; its handler runs for 32 s (attempt 2). Others of this partition wait; 7 partitions go on.",
		}},
		{"waits for a key that is retried", func(now, _ *pipeline.Snapshot) {
			waitsForKey(now)
			k := &now.Partitions[3].HotKeys[0]
			k.Why, k.Until, k.Attempt, k.Err = pipeline.WhyRetry, at(-90), 3, "no database"
		}, []string{
			"waiting: comments/3 waits for KeyShare: post-9 has 5,000 of 5,000 messages; it is tried again in 1 min 30 s, after attempt 3: no database. Others of this partition wait; 7 partitions go on.",
		}},
		{"waits for commits", func(now, _ *pipeline.Snapshot) {
			k := hotKey()
			k.Key, k.Unordered = "", true
			p := &now.Partitions[3]
			p.Waits, p.Oldest, p.Ahead = pipeline.WaitReplay, &k, 100_000
			now.Bottleneck = pipeline.BottleneckCommit
		}, []string{"waiting: comments/3 waits for MaxReplay: 100,000 messages are settled behind the oldest one, a message without a key at offset 1000, which was fetched 40 s ago: its handler runs for 32 s (attempt 2); 7 partitions go on."}},
		{"waits for the budget", func(now, _ *pipeline.Snapshot) {
			for i := range now.Partitions {
				now.Partitions[i].Waits = pipeline.WaitBudget
			}
			now.Partitions[1].InFlight, now.Partitions[2].Lag = 4000, 10
			now.InFlight, now.InFlightBytes, now.Bottleneck = 5120, 1000, pipeline.BottleneckBudget
		}, []string{"waiting: comments/2 waits for the budget: 5,120 of 5,120 messages and 1,000 of 1,048,576 bytes are in flight, 4,000 of comments/1; so are 7 other partitions."}},
		{"waits for the store", func(now, _ *pipeline.Snapshot) {
			now.Partitions[3].Waits, now.Diverting.Bytes = pipeline.WaitDivert, 1<<30
		}, []string{"waiting: comments/3 waits for the store of diverted keys, which has 1,073,741,824 of 1,073,741,824 bytes; 7 partitions go on."}},
		{
			"paused", func(now, _ *pipeline.Snapshot) { p := &now.Partitions[3]; p.Paused, p.Lag = true, 500 },
			[]string{"waiting: comments/3 is paused by an operator with a lag of 500; 7 partitions go on."},
		},

		{"blocked", func(now, _ *pipeline.Snapshot) {
			now.Partitions[3].ParkedKeys = []pipeline.KeySnapshot{
				{Key: "post-9", Waiting: 3, Age: time.Minute, Why: pipeline.WhyBlocked, Attempt: 5, Err: "no such user"},
				{Key: "post-8", Waiting: 1, Age: time.Second, Why: pipeline.WhyBlocked, Attempt: 5, Err: "no such user"},
			}
		}, []string{"failing: 2 keys are blocked, such as post-9 of comments/3 with 3 messages: it is blocked until Resume: no such user."}},
		{"held", func(now, _ *pipeline.Snapshot) {
			now.Diverting.Held = 1
			now.Partitions[3].Strands = []pipeline.StrandSnapshot{{Key: "post-7"}, {Key: "post-9", State: pipeline.StrandHeld, Records: 12, Age: time.Hour, Err: "no such\nuser"}}
		}, []string{"failing: 1 key is held for an operator, such as post-9 of comments/3 with 12 messages: no such user."}},
		{"retries", func(now, _ *pipeline.Snapshot) {
			for range 10 {
				now.Partitions[3].ParkedKeys = append(now.Partitions[3].ParkedKeys,
					pipeline.KeySnapshot{Key: "post-9", Waiting: 3, Age: time.Minute, Why: pipeline.WhyRetry, Attempt: 2, Err: "timed out", Until: at(-5)})
			}
		}, []string{"waiting: At least 10 keys are parked by retries, such as post-9 of comments/3: it is tried again in 5 s, after attempt 2: timed out."}},

		{"workers", func(now, _ *pipeline.Snapshot) {
			now.Bottleneck, now.Workers, now.Running, now.Ready = pipeline.BottleneckWorkers, 5, 5, 300
			now.Partitions[3].HotKeys = []pipeline.KeySnapshot{{Key: "post-9", Waiting: 80}}
		}, []string{"waiting: All 5 workers are busy, and 300 keys wait for one; a turn takes 50 ms. With 300 workers more it could be up to 6,100 turns/s instead of 100; the 80 messages that wait of post-9 (comments/3) take 4 s one by one."}},
		{"order", func(now, _ *pipeline.Snapshot) {
			now.Bottleneck = pipeline.BottleneckOrder
			now.Partitions[3].HotKeys = []pipeline.KeySnapshot{hotKey()}
		}, []string{"waiting: Messages wait for earlier ones of their keys, while 246 of 256 workers are idle: post-9 of comments/3 has 5,000 messages; its handler runs for 32 s (attempt 2). A turn takes 50 ms, so no more than 20/s of one key."}},
		{"one partition is far larger", func(now, before *pipeline.Snapshot) {
			for _, s := range []*pipeline.Snapshot{now, before} {
				for i := range s.Partitions {
					s.Partitions[i].Lag = 100
				}
				s.Partitions[3].Lag = 9300
			}
		}, []string{
			"waiting: comments/3 has 93 % of the lag of 8 partitions, 9,300 of 10,000: its producers send it more, or it began later.",
			"waiting: The lag is 10,000 and does not change.",
		}},
		{"one stream is far larger", func(now, _ *pipeline.Snapshot) {
			for i := range now.Partitions {
				p := &now.Partitions[i]
				p.Lag = 10
				if i%2 == 1 {
					p.ID.Stream, p.Lag = "likes", 2000
				}
			}
		}, []string{"waiting: Stream likes has 99 % of the lag of 2 streams, 8,000 of 8,040: it is far larger than the others."}},
		{"lag grows", func(now, before *pipeline.Snapshot) {
			for i := range now.Partitions {
				before.Partitions[i].Lag = 1000
				now.Partitions[i].Lag, now.Partitions[i].End = 1100, 1200
			}
		}, []string{"waiting: The lag is 8,800 and grows by 80/s: 160/s arrive, and 100/s are settled; the bottleneck is source."}},
		{"lag shrinks", func(now, before *pipeline.Snapshot) {
			for i := range now.Partitions {
				before.Partitions[i].Lag, now.Partitions[i].Lag = 1100, 1000
			}
		}, []string{"info: The lag is 8,000 and shrinks by 80/s: it is cleared in 1 min 40 s.", "info: saves keeps up: 100/s settled."}},

		// Rules that meet.
		{"busy workers use up the budget", func(now, _ *pipeline.Snapshot) {
			now.Bottleneck, now.Workers, now.Running, now.Ready = pipeline.BottleneckWorkers, 256, 256, 1
			now.Partitions[3].Waits, now.InFlight = pipeline.WaitBudget, 5120
		}, []string{"waiting: All 256 workers are busy, and 1 key waits for one; a turn takes 50 ms. With 1 worker more it could be up to 5,140 turns/s instead of 100."}},
		{
			"a paused partition waits for nothing else", func(now, _ *pipeline.Snapshot) { waitsForKey(now); now.Partitions[3].Paused = true },
			[]string{"waiting: comments/3 is paused by an operator; 7 partitions go on."},
		},
		{"a stuck handler explains its release", func(now, _ *pipeline.Snapshot) {
			now.State = pipeline.Stopping
			p := &now.Partitions[3]
			p.Leaving, p.Stuck = &pipeline.LeavingSnapshot{Cause: keystrand.ErrStopping, Since: at(60), Until: at(40)}, 1
		}, []string{
			"failing: saves is stopping: 8 partitions left to release.",
			"failing: comments/3: 1 handler has not returned although the ctx has ended, such as that of a message without a key; the release waits.",
		}},
		{"the worst comes first", func(now, _ *pipeline.Snapshot) {
			waitsForKey(now)
			now.Partitions[5].ParkedKeys = []pipeline.KeySnapshot{{Key: "post-1", Waiting: 3, Why: pipeline.WhyBlocked, Err: "no such user"}}
		}, []string{
			"failing: 1 key is blocked, such as post-1 of comments/5 with 3 messages: it is blocked until Resume: no such user.",
			"waiting: comments/3 waits for KeyShare: post-9 has 5,000 of 5,000 messages; its handler runs for 32 s (attempt 2). Others of this partition wait; 7 partitions go on.",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, before := running()
			c.change(&now, &before)
			var got []string
			for _, f := range Diagnose(now, before) {
				got = append(got, f.Severity.String()+": "+f.Text)
				if f.Severity == Failing && f.Do == "" {
					t.Errorf("%q does not say what to do", f.Text)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestFindingNamesItsPartitionKeyAndTime(t *testing.T) {
	now, before := running()
	waitsForKey(&now)
	f := Diagnose(now, before)[0]
	if f.Partition != now.Partitions[3].ID || f.Key != "post-9" || !f.Since.Equal(at(32)) {
		t.Errorf("%+v, want partition 3, post-9, since 32 s", f)
	}
}

// Texts from outside may be long and have several lines.
func TestSentencesAreShort(t *testing.T) {
	now, before := running()
	waitsForKey(&now)
	now.Partitions[3].HotKeys[0].Key = strings.Repeat("k", 1<<20)
	now.Sinks = []pipeline.SinkTrouble{{Sink: strings.Repeat("s", 1<<20), Err: errors.New(strings.Repeat("e\n", 1<<20)), Since: at(1)}}
	for _, f := range Diagnose(now, before) {
		if len(f.Text) > 500 || strings.Contains(f.Text, "\n") {
			t.Errorf("a sentence of %d bytes: %.300s", len(f.Text), f.Text)
		}
	}
}

func TestDurationsHaveTwoUnits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 ms": 0, "999 ms": 999*time.Millisecond + 1, "1 s": time.Second, "59 s": 59*time.Second + 900*time.Millisecond, "1 min": time.Minute,
		"3 min 20 s": 200 * time.Second, "1 h": time.Hour, "2 h 5 min": 2*time.Hour + 5*time.Minute + time.Second, "1 d 1 h": 25 * time.Hour,
	} {
		if got := duration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for want, n := range map[string]int64{"0": 0, "999": 999, "1,000": 1000, "1,073,741,824": 1 << 30, "-5,000": -5000} {
		if got := number(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
