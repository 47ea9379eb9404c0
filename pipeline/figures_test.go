package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

func TestNameIsTheGroupOfTheSourceUnlessItIsSet(t *testing.T) {
	type plain struct{ source.Source } // hides Describe
	for _, c := range []struct {
		src                       source.Source
		set                       string
		name, system, group, what string
	}{
		{memory.NewSource(memory.Config{Group: "saves"}, memory.NewLog("a", 1)), "", "saves", "memory", "saves", "group"},
		{memory.NewSource(memory.Config{Group: "saves"}, memory.NewLog("a", 1)), "mine", "mine", "memory", "saves", "set"},
		{memory.NewSource(memory.Config{}, memory.NewLog("a", 1)), "", "memory", "memory", "", "no group"},
		{plain{memory.NewSource(memory.Config{}, memory.NewLog("a", 1))}, "", "pipeline", "", "", "no Describe"},
	} {
		b := pipeline.From(c.src).HandleFunc(nothing)
		if c.set != "" {
			b.Name(c.set)
		}
		p, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Snapshot(); s.Name != c.name || s.System != c.system || s.Group != c.group {
			t.Errorf("%s: name %q, system %q, group %q; want %q, %q, %q", c.what, s.Name, s.System, s.Group, c.name, c.system, c.group)
		}
	}
}

func TestSnapshotShowsWhatIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := pipeline.From(memory.NewSource(memory.Config{}, memory.NewLog("a", 1))).HandleFunc(nothing).
			Limits(pipeline.Limits{Workers: 7}).Timing(pipeline.Timing{DrainTimeout: time.Minute}).Build()
		if err != nil {
			t.Fatal(err)
		}
		if !p.Snapshot().Started.IsZero() {
			t.Error("Started is set before Run")
		}
		if err := p.SetWorkers(9); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(time.Second)
		s := p.Snapshot()
		if s.Limits.Workers != 9 || s.Limits.MaxReplay != 100_000 || s.Timing.DrainTimeout != time.Minute || s.Timing.CommitInterval != time.Second || !s.Started.Equal(begun) {
			t.Errorf("%+v, %+v, started %v; want the defaults and what was set", s.Limits, s.Timing, s.Started)
		}
		if pt := s.Partitions[0]; !pt.AcceptedAt.Equal(begun) {
			t.Errorf("accepted at %v, want %v", pt.AcceptedAt, begun)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func TestBusyIsTheTimeInTurnsWithThoseThatRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(8, 4)...)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Limits(pipeline.Limits{Workers: 4}).
			HandleFunc(func(context.Context, *keystrand.Message) error { time.Sleep(10 * time.Second); return nil }))
		time.Sleep(3 * time.Second)
		if s := run.Counts(); s.Busy != 12*time.Second || s.Turns != 0 {
			t.Errorf("busy for %v in %d turns, want 12 s of the four that run", s.Busy, s.Turns)
		}
		time.Sleep(time.Minute)
		if s := run.Counts(); s.Busy != 80*time.Second || s.Turns != 8 {
			t.Errorf("busy for %v in %d turns, want 80 s and 8", s.Busy, s.Turns)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// The oldest message has the time of its batch, whatever is fetched and settled behind it.
func TestPartitionShowsItsBudgetItsOldestAgeAndItsGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
			Limits(pipeline.Limits{InFlight: 1000, InFlightBytes: 1 << 20, Workers: 1000}).Timing(pipeline.Timing{DrainTimeout: time.Second}).
			HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
				if m.Offset%2 == 0 && m.Offset < 200 {
					return hold(ctx, m)
				}
				return nil
			}))
		time.Sleep(time.Second)
		for range 500 {
			log.Append(0, keystrand.Message{Value: make([]byte, 10)})
			time.Sleep(100 * time.Millisecond)
		}
		for _, s := range []pipeline.Snapshot{run.Snapshot(), run.Counts()} {
			p := s.Partitions[0]
			if p.InFlight != 100 || p.InFlightBytes != 1000 || p.Guaranteed != 250 || p.GuaranteedBytes != 1<<18 {
				t.Errorf("%d messages, %d bytes, %d and %d guaranteed; want 100, 1000 and a quarter of the limits", p.InFlight, p.InFlightBytes, p.Guaranteed, p.GuaranteedBytes)
			}
			if want := 50 * time.Second; p.OldestAge != want || s.Partitions[1].OldestAge != 0 {
				t.Errorf("the oldest messages were fetched %v and %v ago, want %v and none", p.OldestAge, s.Partitions[1].OldestAge, want)
			}
		}
		p := run.part(t, 0)
		if p.Gaps != 100 || len(p.AheadRanges) != 64 || p.AheadRanges[0] != (commit.Range{From: 1, To: 2}) || p.AheadRanges[63] != (commit.Range{From: 127, To: 128}) {
			t.Errorf("%d gaps, ranges %v; want 100 and the first 64", p.Gaps, p.AheadRanges)
		}
		if p.Oldest.Age != p.OldestAge || !p.Oldest.Unordered {
			t.Errorf("oldest %+v, want the same age, and no order", p.Oldest)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPartitionShowsWhatItsOwnerBeforeSettledAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(100, 100)...)
		mem := memory.NewSource(memory.Config{}, log)
		run := start(t, pipeline.From(mem).HandleFunc(holdKey("k0")).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(5 * time.Second)
		run.PausePartition("posts", 0)
		mem.Lose("posts", 0)
		time.Sleep(5 * time.Second)
		if p := run.part(t, 0); p.RestoredAhead != 99 || p.Ahead != 0 || p.Gaps != 1 || !slices.Equal(p.AheadRanges, []commit.Range{{From: 1, To: 100}}) {
			t.Errorf("%d restored, %d ahead, %d gaps, %v; want the 99 of the owner before", p.RestoredAhead, p.Ahead, p.Gaps, p.AheadRanges)
		}
		run.ResumePartition("posts", 0)
		time.Sleep(5 * time.Second)
		if p := run.part(t, 0); p.RestoredAhead != 0 || p.Ahead != 99 {
			t.Errorf("%d restored, %d ahead; want them fetched again", p.RestoredAhead, p.Ahead)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPartitionShowsSinceWhenCommitsFailAndHowLongTheyTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		var down atomic.Bool
		src := memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
			time.Sleep(300 * time.Millisecond)
			if down.Load() {
				return errBoom
			}
			return nil
		}}, log)
		run := start(t, pipeline.From(src).HandleFunc(nothing))
		log.Append(0, keysOf(1, 1)...)
		time.Sleep(3 * time.Second)
		if p := run.Counts().Partitions[0]; p.LastCommitTook != 300*time.Millisecond || !p.CommitErrSince.IsZero() {
			t.Errorf("took %v, fails since %v; want 300 ms, and no failure", p.LastCommitTook, p.CommitErrSince)
		}
		down.Store(true)
		log.Append(0, keysOf(1, 1)...)
		time.Sleep(10 * time.Second)
		p := run.Counts().Partitions[0]
		if d := time.Since(p.CommitErrSince); !errors.Is(p.CommitErr, errBoom) || d < 8*time.Second || d > 10*time.Second {
			t.Errorf("%v since %v, want since about 9 s", p.CommitErr, d)
		}
		down.Store(false)
		time.Sleep(3 * time.Second)
		if p := run.Counts().Partitions[0]; p.CommitErr != nil || !p.CommitErrSince.IsZero() {
			t.Errorf("%v since %v, want no failure", p.CommitErr, p.CommitErrSince)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPartitionShowsItsReleaseAndStuckHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(20, 20)...)
		mem := memory.NewSource(memory.Config{LeaveTimeout: time.Minute}, log)
		free := make(chan struct{})
		run := start(t, pipeline.From(mem).Timing(pipeline.Timing{DrainTimeout: 10 * time.Second, StuckAfter: 2 * time.Second}).
			HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
				if m.Offset >= 15 {
					return hold(ctx, m)
				}
				<-free
				return nil
			}))
		time.Sleep(time.Second)
		if p := run.part(t, 0); p.Leaving != nil || p.Stuck != 0 {
			t.Errorf("%+v, want no release", p)
		}
		mem.Revoke("posts", 0)
		begun := time.Now()
		time.Sleep(5 * time.Second)
		p := run.part(t, 0)
		if l := p.Leaving; l == nil || !errors.Is(l.Cause, keystrand.ErrLeaving) || !l.Since.Equal(begun) || !l.Until.Equal(begun.Add(10*time.Second)) ||
			!l.Deadline.Equal(begun.Add(time.Minute)) || p.Stuck != 0 {
			t.Errorf("release %+v with %d stuck, want one that began at %v", l, p.Stuck, begun)
		}
		time.Sleep(10 * time.Second)
		if p := run.part(t, 0); p.Stuck != 15 || len(p.StuckKeys) != 10 {
			t.Errorf("%d stuck, keys %q; want 15, and 10 of their keys", p.Stuck, p.StuckKeys)
		}
		if p := run.Counts().Partitions[0]; p.Stuck != 15 || p.StuckKeys != nil {
			t.Errorf("%d stuck, keys %q; want 15, and no keys", p.Stuck, p.StuckKeys)
		}
		close(free)
		time.Sleep(time.Second)
		if p := run.part(t, 0); p.ID.Epoch != 2 || p.Leaving != nil || p.Stuck != 0 {
			t.Errorf("%+v, want the next ownership", p)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKeyShowsAttemptsAndTheLastErrorWhileItsHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"))
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Timing(pipeline.Timing{DrainTimeout: time.Second}).
			HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
				if m.Attempt == 3 {
					return hold(ctx, m)
				}
				return keystrand.RetryAfter(10*time.Second, errBoom)
			}))
		begun := time.Now()
		time.Sleep(15 * time.Second)
		if k := run.part(t, 0).ParkedKeys[0]; k.Attempt != 2 || k.Err != errBoom.Error() || !k.Since.Equal(begun.Add(10*time.Second)) {
			t.Errorf("parked: %+v, want since 5 s, after two attempts", k)
		}
		time.Sleep(10 * time.Second)
		if k := run.part(t, 0).Oldest; k.Why != pipeline.WhyHandler || k.Attempt != 2 || k.Err != errBoom.Error() || !k.Since.Equal(begun.Add(20*time.Second)) {
			t.Errorf("running: %+v, want since 5 s, after two attempts", k)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKeyOfABarrierSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"))
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).HandleFunc(hold).Timing(pipeline.Timing{DrainTimeout: time.Second}).
			Key(func(*keystrand.Message) (keystrand.Key, error) { return keystrand.Barrier(), nil }))
		time.Sleep(time.Second)
		if k := run.part(t, 0).Oldest; !k.Barrier || !k.Unordered || k.Key != "" {
			t.Errorf("%+v, want a barrier", k)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOutputsCountEachMessageOfATransformer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		out := sinkmemory.New()
		failed := false // used by one writer
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Value) == "second" && !failed {
				failed = true
				return errBoom
			}
			return nil
		})
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Limits(pipeline.Limits{Writers: 1}).
			TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				for _, value := range []string{"first", "second", "third"}[:m.Offset%4] {
					emit(keystrand.Message{Key: m.Key, Value: []byte(value)})
				}
				return nil
			}).To(out))
		time.Sleep(10 * time.Second)
		if s := run.Counts(); s.Outputs != 13 || s.Written != 7 || s.Settled != 10 {
			t.Errorf("%d outputs of %d written of %d settled; want 13, 7, 10", s.Outputs, s.Written, s.Settled)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Counts is Snapshot without what needs a visit of keys.
func TestCountsIsSnapshotWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 3)
		for p := range int32(3) {
			log.Append(p, keysOf(500, 7)...)
		}
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Divert(spill.New()).OnFailure(pipeline.Hold).
			Limits(pipeline.Limits{InFlight: 100, KeyShare: 10, FetchMessages: 10}).Timing(pipeline.Timing{DrainTimeout: time.Second}).
			HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
				switch string(m.Key) {
				case "k0":
					return hold(ctx, m)
				case "k1":
					return errBoom
				case "k2":
					return keystrand.RetryAfter(time.Hour, nil)
				}
				return nil
			}))
		time.Sleep(time.Minute)
		counts, snapshot := run.Counts(), run.Snapshot()
		if snapshot.Parked == 0 || snapshot.Diverting.Held == 0 || snapshot.Diverting.Oldest == 0 {
			t.Errorf("%+v, want parked lanes and held keys", snapshot)
		}
		snapshot.Diverting.Oldest = 0
		for i := range snapshot.Partitions {
			p := &snapshot.Partitions[i]
			if p.Oldest == nil || p.HotKeys == nil || p.ParkedKeys == nil || p.Strands == nil || p.Gaps == 0 || p.AheadRanges == nil {
				t.Errorf("%+v, want all fields set", p)
			}
			p.Oldest, p.HotKeys, p.ParkedKeys, p.Strands, p.Gaps, p.AheadRanges, p.Diverting.Oldest = nil, nil, nil, nil, 0, nil, 0
		}
		got, err := json.Marshal(counts)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := json.Marshal(snapshot); err != nil || string(got) != string(want) {
			t.Errorf("Counts   %s\nSnapshot %s, %v", got, want, err)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A scrape asks for Counts every second, also with many partitions.
func BenchmarkCounts(b *testing.B) {
	const partitions = 1000
	log := memory.NewLog("posts", partitions)
	for p := range int32(partitions) {
		log.Append(p, keysOf(10, 5)...)
	}
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).HandleFunc(nothing).Build()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for p.Counts().Settled < 10*partitions {
		time.Sleep(time.Millisecond) // real time: until it is settled
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := p.Counts(); len(s.Partitions) != partitions {
			b.Fatalf("%d partitions", len(s.Partitions))
		}
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
