// Virtual time: the tests that use a rig run in bubbles.
package outlet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// fakeSink opens writers whose Write is write.
type fakeSink struct {
	write func(ctx context.Context, writer int, ms []keystrand.Message) error
	open  func(writer int) error // nil: no error
	close func(writer int) error // nil: no error
	next  int
}

func (s *fakeSink) Open() (sink.Writer, error) {
	w := &fakeWriter{s, s.next}
	s.next++
	if s.open != nil {
		return w, s.open(w.number)
	}
	return w, nil
}

func (s *fakeSink) Close() error { return nil }

type fakeWriter struct {
	s      *fakeSink
	number int
}

func (w *fakeWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	return w.s.write(ctx, w.number, ms)
}

func (w *fakeWriter) Close() error {
	if w.s.close != nil {
		return w.s.close(w.number)
	}
	return nil
}

// rig is an outlet that records its Writes and the ends of outputs. An output has its name as Value, and its messages have
// the same name as values.
type rig struct {
	x       *Outlet[string]
	begun   time.Time
	durable func() // called by the hook Durable, before it is recorded; nil: nothing

	mu     sync.Mutex
	writes []string // with the time of each; guarded by mu, as are the next two
	ends   []string
	broken []error
}

func newRig(t *testing.T, writers int, write func(ctx context.Context, writer int, ms []keystrand.Message) error) *rig {
	t.Helper()
	r := &rig{begun: time.Now()}
	s := &fakeSink{write: func(ctx context.Context, writer int, ms []keystrand.Message) error {
		var names []string
		for i := range ms {
			names = append(names, string(ms[i].Value))
		}
		r.note(&r.writes, strings.Join(names, "+"))
		return write(ctx, writer, ms)
	}}
	x, err := Open(s, writers, r.hooks())
	if err != nil {
		t.Fatal(err)
	}
	r.x = x
	return r
}

func (r *rig) hooks() Hooks[string] {
	ends := func(how string) func([]*Output[string]) {
		return func(outputs []*Output[string]) {
			for _, o := range outputs {
				r.note(&r.ends, how+" "+o.Value)
			}
		}
	}
	return Hooks[string]{
		Durable: func(outputs []*Output[string]) {
			if r.durable != nil {
				r.durable()
			}
			ends("durable")(outputs)
		},
		Dropped: ends("dropped"),
		Refused: func(o *Output[string], _ error) Refusal {
			r.note(&r.ends, "refused "+o.Value)
			return Ended
		},
		Waits: func(*Output[string]) {},
		Broken: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.broken = append(r.broken, err)
		},
		Safe:    func(err error) error { return err },
		Failing: func(error) {},
	}
}

func (r *rig) note(to *[]string, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to == &r.writes {
		what = fmt.Sprintf("%v %s", time.Since(r.begun), what)
	}
	*to = append(*to, what)
}

// wrote waits until all goroutines are blocked, and compares the Writes since the last call.
func (r *rig) wrote(t *testing.T, want ...string) {
	t.Helper()
	r.compare(t, "writes", &r.writes, want)
}

// ended does the same for the ends of outputs.
func (r *rig) ended(t *testing.T, want ...string) {
	t.Helper()
	r.compare(t, "ends", &r.ends, want)
}

func (r *rig) compare(t *testing.T, what string, got *[]string, want []string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(*got, want) {
		t.Errorf("%s:\n%q, want\n%q", what, *got, want)
	}
	*got = nil
}

func (r *rig) add(t *testing.T, o *Output[string]) {
	t.Helper()
	if !r.x.Add(o) {
		t.Errorf("Add(%s) = false", o.Value)
	}
}

// close cuts the owners and closes the outlet.
func (r *rig) close(t *testing.T, owners ...*Owner[string]) {
	t.Helper()
	for _, w := range owners {
		w.Cut()
		r.x.Cut(w)
	}
	if err := r.x.Close(); err != nil {
		t.Error(err)
	}
	for _, w := range owners {
		if n := w.Pending(); n != 0 {
			t.Errorf("%d outputs have not ended", n)
		}
	}
}

func newOwner() *Owner[string] { return NewOwner[string](func() {}) }

// newOutput returns an output of a lane with a single key.
func newOutput(owner *Owner[string], lane uint64, name string) *Output[string] {
	m := keystrand.Message{Key: fmt.Append(nil, lane), Value: []byte(name)}
	return &Output[string]{Owner: owner, Lane: lane, Value: name, Messages: []keystrand.Message{m}}
}
