package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// wantStuck checks that Run has returned and names the abandoned calls.
func wantStuck(t *testing.T, run *running, calls ...string) {
	t.Helper()
	select {
	case <-run.over:
	default:
		t.Fatal("I10: Run has not returned although only calls of the source or the sink are left")
	}
	if stuck, ok := errors.AsType[*pipeline.StuckError](run.err); !ok || !slices.Equal(stuck.Calls, calls) {
		t.Errorf("Run = %v, want the abandoned calls %q", run.err, calls)
	}
}

// hanging is a source and a sink. One of its methods ignores its ctx and does not return before let is closed.
type hanging struct {
	*memory.Source
	method  string
	honours bool // the method returns when its ctx ends
	let     chan struct{}
	end     time.Duration // how long End takes

	mu       sync.Mutex
	accepted int
	released int
	closed   bool // the source
}

func (h *hanging) hang(ctx context.Context, method string) error {
	if h.method != method {
		return nil
	}
	if !h.honours {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-h.let:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (h *hanging) Accept(ctx context.Context) (source.Partition, error) {
	h.mu.Lock()
	first := h.accepted == 0
	h.mu.Unlock()
	if !first || h.method == "Accept at once" {
		_ = h.hang(ctx, "Accept")
		_ = h.hang(ctx, "Accept at once")
	}
	p, err := h.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted++
	return hangingPartition{p, h}, nil
}

func (h *hanging) LimitPrefetch(int) { _ = h.hang(context.Background(), "LimitPrefetch") }
func (h *hanging) Prefetched() int64 { return 0 }
func (h *hanging) Stop()             { _ = h.hang(context.Background(), "Stop") }

func (h *hanging) Close() error {
	_ = h.hang(context.Background(), "Close")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed = true; h.released != h.accepted {
		return errors.New("closed before the last release")
	}
	return h.Source.Close()
}

type hangingPartition struct {
	source.Partition
	h *hanging
}

func (p hangingPartition) ID() source.ID {
	_ = p.h.hang(context.Background(), "ID")
	return p.Partition.ID()
}

func (p hangingPartition) Restored() *commit.Progress {
	_ = p.h.hang(context.Background(), "Restored")
	return p.Partition.Restored()
}

func (p hangingPartition) Leaving() <-chan source.Leave {
	_ = p.h.hang(context.Background(), "Leaving")
	return p.Partition.Leaving()
}

func (p hangingPartition) Fetch(ctx context.Context, b *source.Batch) error {
	_ = p.h.hang(ctx, "Fetch")
	return p.Partition.Fetch(ctx, b)
}

func (p hangingPartition) Commit(ctx context.Context, g *commit.Progress) (commit.Stored, error) {
	if err := p.h.hang(ctx, "Commit"); err != nil {
		return commit.Stored{}, err
	}
	return p.Partition.Commit(ctx, g)
}

func (p hangingPartition) Release(ctx context.Context) error {
	err := p.h.hang(ctx, "Release")
	p.h.mu.Lock()
	p.h.released++
	p.h.mu.Unlock()
	return errors.Join(err, p.Partition.Release(ctx))
}

func (p hangingPartition) End() (int64, bool) {
	_ = p.h.hang(context.Background(), "End")
	time.Sleep(p.h.end)
	return 100, true
}

// hangingSink is the sink of a hanging.
type hangingSink struct {
	h    *hanging
	open string // its method Open
}

func (s hangingSink) Open() (sink.Writer, error) {
	_ = s.h.hang(context.Background(), s.open)
	return s, nil
}

func (s hangingSink) Write(context.Context, []keystrand.Message) error { return nil }

func (s hangingSink) Close() error {
	_ = s.h.hang(context.Background(), "Close of a writer")
	return nil
}

// I10: whichever call of the source or the sink hangs, Run returns CloseTimeout after the end of ctx and names the call.
// The log names it before. When the call returns, the rest of the stop follows in order.
func TestRunReturnsInTimeWhicheverCallHangs(t *testing.T) {
	const (
		closeTimeout = 5 * time.Second // the default
		drain        = time.Millisecond
		flow         = "the key function, or Fetch or Leaving of the source for posts/0#1"
	)
	for _, c := range []struct {
		method  string
		honours bool
		early   bool     // nothing is fetched or stored because of it
		names   []string // abandoned calls
		err     error    // of Run, if no call is abandoned
	}{
		{method: "nothing"},
		{method: "Accept at once", early: true, names: []string{"Accept of the source"}},
		{method: "Accept", names: []string{"Accept of the source"}},
		{method: "ID", early: true, names: []string{"ID or Restored of a partition"}},
		{method: "Restored", early: true, names: []string{"ID or Restored of a partition"}},
		{method: "Leaving", early: true, names: []string{"Leaving of posts/0#1", flow}},
		{method: "Fetch", early: true, names: []string{flow}},
		{method: "Commit", early: true, names: []string{"Commit of the source for posts/0#1"}},
		{method: "Release", names: []string{"Release of posts/0#1"}},
		{method: "Close", names: []string{"Close of the source"}},
		{method: "Stop", names: []string{"Stop of the source"}},
		{method: "LimitPrefetch", early: true, names: []string{"LimitPrefetch of the source"}},
		{method: "End", names: []string{"End of a partition"}},
		{method: "Open of the sink", early: true, names: []string{"Open of the sink"}},
		{method: "Open of the dead-letter sink", early: true, names: []string{"Open of the dead-letter sink", "Close of a writer of the sink"}},
		{method: "Close of a writer", names: []string{"Close of a writer of the sink"}},
		{method: "Accept", honours: true},
		{method: "Fetch", honours: true, early: true},
		{method: "Commit", honours: true, early: true},
		{method: "Release", honours: true, err: context.Canceled},
	} {
		name := c.method
		if c.honours {
			name += " until its ctx ends"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(10, 3)...)
				h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: c.method, honours: c.honours, let: make(chan struct{})}
				letGo := sync.OnceFunc(func() { close(h.let) })
				defer letGo()
				var out buffer
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				run := startWith(t, ctx, pipeline.From(h).
					TransformFunc(func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						if c.method == "Open of the dead-letter sink" {
							return errBoom
						}
						return echo(ctx, m, emit)
					}).To(hangingSink{h, "Open of the sink"}).
					OnFailure(pipeline.DeadLetter(hangingSink{h, "Open of the dead-letter sink"})).
					Timing(pipeline.Timing{CommitTimeout: time.Minute, DrainTimeout: drain}).Logger(out.logger()))
				time.Sleep(15 * time.Second)
				began := time.Now()
				cancel()
				<-run.over
				if d := time.Since(began); d > drain+closeTimeout {
					t.Errorf("I10: Run returned after %v, want at most %v", d, drain+closeTimeout)
				}
				if len(c.names) > 0 {
					wantStuck(t, run, c.names...)
				} else if !errors.Is(run.err, c.err) {
					t.Errorf("Run = %v, want %v", run.err, c.err)
				}
				for _, call := range c.names {
					if !out.has(call) && c.method != "End" { // which the goroutine that writes the log calls
						t.Errorf("the log does not name %q:\n%s", call, out.b.String())
					}
				}
				if c.method == "Close of a writer" || c.method == "Open of the dead-letter sink" {
					if h.mu.Lock(); !h.closed {
						t.Error("the source is not closed although only the sink hangs")
					}
					h.mu.Unlock()
				}
				letGo()
				synctest.Wait()
				time.Sleep(time.Minute)
				if h.mu.Lock(); !h.closed || h.released != h.accepted {
					t.Errorf("%d of %d partitions released, source closed: %v; want all", h.released, h.accepted, h.closed)
				}
				h.mu.Unlock()
				if g := log.Group("").Committed(0); (g == nil || g.Frontier != 10) != c.early {
					t.Errorf("committed %+v, want everything", g)
				}
			})
		})
	}
}

// The pipeline asks for the end of each partition every 10 s. A call that is under way when Run gives up another is no cause.
func TestCallThatHasJustBegunIsNotNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: "Release", let: make(chan struct{}), end: 10 * time.Millisecond}
		letGo := sync.OnceFunc(func() { close(h.let) })
		defer letGo()
		run := start(t, pipeline.From(h).HandleFunc(func(context.Context, *keystrand.Message) error { return nil }))
		time.Sleep(15*time.Second + 5*time.Millisecond) // Run gives up 5 ms after it has asked
		run.cancel(nil)
		<-run.over
		wantStuck(t, run, "Release of posts/0#1")
		letGo()
		time.Sleep(time.Minute) // the rest of the stop
	})
}

// lateID is a source whose partitions tell their ID only after let, and whose first Fetch returns messages also after the end
// of its ctx.
type lateID struct {
	*memory.Source
	let chan struct{}
}

func (s lateID) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return &lateIDPartition{Partition: p, let: s.let}, nil
}

type lateIDPartition struct {
	source.Partition
	let     chan struct{}
	fetched bool
}

func (p *lateIDPartition) ID() source.ID {
	<-p.let
	return p.Partition.ID()
}

func (p *lateIDPartition) Fetch(ctx context.Context, b *source.Batch) error {
	if !p.fetched {
		p.fetched, ctx = true, context.WithoutCancel(ctx)
	}
	return p.Partition.Fetch(ctx, b)
}

// A partition that is opened after the end of ctx handles nothing: Run no longer waits for handlers that begin.
func TestNoHandlerStartsInAPartitionThatOpensAfterTheEndOfCtx(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			log := memory.NewLog("posts", 4)
			for p := range int32(4) {
				log.Append(p, keysOf(10, 3)...)
			}
			s := lateID{memory.NewSource(memory.Config{}, log), make(chan struct{})}
			var handled atomic.Int32
			run := start(t, pipeline.From(s).HandleFunc(func(context.Context, *keystrand.Message) error {
				handled.Add(1)
				time.Sleep(10 * time.Second)
				return nil
			}))
			time.Sleep(time.Second)
			run.cancel(nil)
			time.Sleep(time.Second)
			close(s.let)
			if err := run.wait(); err != nil {
				t.Fatal(err)
			}
			if n := handled.Load(); n != 0 {
				t.Errorf("%d handlers started after the end of ctx", n)
			}
		})
	}
}

// I10: CloseTimeout is a setting.
func TestRunReturnsAfterTheCloseTimeoutThatIsSet(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 40 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := &hanging{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1)), method: "Close", let: make(chan struct{})}
			defer close(h.let)
			ctx, cancel := context.WithCancel(t.Context())
			run := startWith(t, ctx, pipeline.From(h).HandleFunc(func(context.Context, *keystrand.Message) error { return nil }).
				Timing(pipeline.Timing{CloseTimeout: timeout}))
			time.Sleep(time.Second)
			began := time.Now()
			cancel()
			err := run.wait()
			if _, ok := errors.AsType[*pipeline.StuckError](err); !ok {
				t.Errorf("Run = %v, want that a call is abandoned", err)
			}
			if d := time.Since(began); d < timeout || d > timeout+time.Second {
				t.Errorf("Run returned after %v, want %v", d, timeout)
			}
		})
	}
}
