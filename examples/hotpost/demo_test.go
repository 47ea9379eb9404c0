// Virtual time: every test here that runs a demo does so in a bubble.

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/sink"
)

// fakeTopic has the comments that were written and not handled. Its processes handle the other posts at once, and the viral
// post one comment every 5 ms, or 64.
type fakeTopic struct {
	mu     sync.Mutex
	next   int64 // offset
	others []show.Comment
	viral  []show.Comment
}

func (f *fakeTopic) Write(_ context.Context, ms []keystrand.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range ms {
		c := show.Comment{Post: string(m.Key), Offset: f.next}
		if _, err := fmt.Sscan(string(m.Value), &c.N); err != nil {
			return err
		}
		f.next++
		if c.Post == viral {
			f.viral = append(f.viral, c)
		} else {
			f.others = append(f.others, c)
		}
	}
	return nil
}

func (f *fakeTopic) Close() error { return nil }

// take returns the comments that are handled in one turn, and how many of the viral post are left.
func (f *fakeTopic) take(most int) (cs []show.Comment, left int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(most, len(f.viral))
	cs = append(f.others, f.viral[:n]...)
	f.others, f.viral = nil, f.viral[n:]
	return cs, len(f.viral)
}

// fakeService is a broker and starts the processes.
type fakeService struct {
	handles func(c show.Comment, heard func(string)) // nil: in the right way
	dies    bool                                     // processes end by themselves
	refuses error                                    // error of Create

	topics map[string]*fakeTopic
	flags  [][]string // of the processes
	killed int
	closed bool
}

func (f *fakeService) Start(context.Context, *show.Output) error { return nil }
func (f *fakeService) Flags() []string                           { return []string{"-at", "here"} }
func (f *fakeService) Close() error                              { f.closed = true; return nil }

func (f *fakeService) Create(_ context.Context, topic string) error {
	if f.topics == nil {
		f.topics = map[string]*fakeTopic{}
	}
	f.topics[topic] = &fakeTopic{}
	return f.refuses
}

func (f *fakeService) Writer(topic string) (sink.Writer, error) { return f.topics[topic], nil }

func (f *fakeService) Committed(context.Context, string, string) (func(show.Comment) bool, error) {
	return func(show.Comment) bool { return true }, nil
}

func (f *fakeService) start(flags []string, heard func(line string)) (show.Process, error) {
	f.flags = append(f.flags, flags)
	member := flags[slices.Index(flags, "-member")+1]
	s, err := parseMember(member)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &fakeProcess{service: f, cancel: cancel, gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		if f.dies {
			p.err = errors.New("exit status 1")
			return
		}
		f.serve(ctx, f.topics[s.topic], s.batches, heard)
	}()
	return p, nil
}

func (f *fakeService) serve(ctx context.Context, t *fakeTopic, batches bool, heard func(line string)) {
	most, spilled := 1, int64(0)
	if batches {
		most = 64
	}
	time.Sleep(time.Millisecond) // so that a comment is never written and handled at the same time
	for turn := 0; ; turn++ {
		select {
		case <-time.After(handlerTime):
		case <-ctx.Done():
			return
		}
		cs, left := t.take(most)
		for _, c := range cs {
			if f.handles != nil {
				f.handles(c, heard)
			} else {
				handle(c, heard)
			}
		}
		spilled = max(spilled, int64(left))
		if turn%20 == 0 {
			heard(depth{show.Partitions, 32, int64(left), spilled}.String())
		}
	}
}

func handle(c show.Comment, heard func(string)) {
	heard(fmt.Sprintf("b %s %d 0 %d", c.Post, c.N, c.Offset))
	heard(fmt.Sprintf("e %s %d 0 %d", c.Post, c.N, c.Offset))
}

type fakeProcess struct {
	service *fakeService
	cancel  context.CancelFunc
	gone    chan struct{}
	err     error
}

func (p *fakeProcess) Ended() <-chan struct{} { return p.gone }
func (p *fakeProcess) Stop() error            { p.cancel(); <-p.gone; return p.err }
func (p *fakeProcess) Kill()                  { p.service.killed++; _ = p.Stop() }

// runWith runs a demo on a fake service.
func runWith(t *testing.T, f *fakeService) (r result, out string, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var b strings.Builder
	synctest.Test(t, func(*testing.T) {
		d := demo{broker: f, out: show.NewOutput(&b), start: f.start, rates: rates{others: 50, viral: 400}}
		r, err = d.all()
	})
	return r, b.String(), err
}

func TestDemoRunsFourPhasesAndKillsTheOneThatSpills(t *testing.T) {
	f := &fakeService{}
	r, out, err := runWith(t, f)
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	if r.Broken() != nil || r.SpillLeft != 0 {
		t.Errorf("counts = %+v, %d left, want all comments handled in order", r.Counts, r.SpillLeft)
	}
	if r.Spilled < 9_000 {
		t.Errorf("spilled = %d, want the sum of three processes that have reported 2,000, 4,000 and 4,000", r.Spilled)
	}
	for name, p99 := range map[string]float64{"without": r.Quiet.P99, "pause": r.Pause.P99, "spill": r.Spill.P99, "batch": r.Batch.P99} {
		if p99 <= 0 || p99 > 10 {
			t.Errorf("%s: p99 = %v ms, want at most a write interval and a turn", name, p99)
		}
	}
	if r.Quiet.Viral != 0 || r.Spill.Viral < 1_900 || r.Spill.Viral > 2_020 || r.Batch.Viral < 3_900 {
		t.Errorf("viral comments handled = %d, %d and %d, want 0, 200 a second and 400 a second", r.Quiet.Viral, r.Spill.Viral, r.Batch.Viral)
	}
	if f.killed != 1 || r.Committed == 0 || len(f.flags) != 6 || !f.closed {
		t.Errorf("%d processes, %d killed, counts = %+v, want 6 and 1", len(f.flags), f.killed, r.Counts)
	}
	if r.Seconds > 90 {
		t.Errorf("it took %v s, want at most 90", r.Seconds)
	}
	if left, err := filepath.Glob(filepath.Join(t.TempDir(), "..", "*", "hotpost-*")); err != nil || len(left) > 0 {
		t.Errorf("files left = %q, %v", left, err)
	}
}

func TestDemoReportsALostComment(t *testing.T) {
	r, out, err := runWith(t, &fakeService{handles: func(c show.Comment, heard func(string)) {
		if c.Offset != 3_000 {
			handle(c, heard)
		}
	}})
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	if r.Lost == 0 || r.Broken() == nil {
		t.Errorf("counts = %+v, broken = %v, want a lost comment", r.Counts, r.Broken())
	}
}

func TestDemoEndsWithAnErrorWhenAProcessEndsByItself(t *testing.T) {
	f := &fakeService{dies: true}
	if _, _, err := runWith(t, f); err == nil || !strings.Contains(err.Error(), "exit status 1") || !f.closed {
		t.Errorf("demo = %v, closed = %t, want the exit status of the process and a closed broker", err, f.closed)
	}
}

func TestDemoEndsWithAnErrorWhenATopicCannotBeCreated(t *testing.T) {
	f := &fakeService{refuses: errors.New("no leader")}
	if _, _, err := runWith(t, f); !errors.Is(err, f.refuses) || len(f.flags) > 0 {
		t.Errorf("demo = %v with %d processes, want the error of Create before any process starts", err, len(f.flags))
	}
}

func TestRunRefusesFlagsThatCannotWorkBeforeItStartsAnything(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-wrong"}, "not defined: -wrong"},
		{[]string{"now"}, `unexpected argument "now"`},
		{[]string{"-json", "false"}, `unexpected argument "false"`},
		{[]string{"-svg", "/nowhere/at/all.svg"}, "there is no folder /nowhere/at"},
		{[]string{"-brokers", "localhost"}, "use host:port"},
		{[]string{"-member", "topic"}, "use TOPIC/one or TOPIC/batch"},
		{[]string{"-member", "/one"}, "use TOPIC/one or TOPIC/batch"},
		{[]string{"-member", "topic/two"}, "use TOPIC/one or TOPIC/batch"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			flags := flag.NewFlagSet("hotpost", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			err := run(flags, tt.args, strings.NewReader(""), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}
