package outlet

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// flaky returns a Write that fails for each message as often as fails has for its value. It does not write messages behind a
// failed one of their key.
func flaky(fails map[string]int) func(context.Context, int, []keystrand.Message) error {
	return func(_ context.Context, _ int, ms []keystrand.Message) error {
		errs, failed := make([]error, len(ms)), make(map[string]bool)
		for i := range ms {
			switch name := string(ms[i].Value); {
			case failed[string(ms[i].Key)]:
				errs[i] = sink.ErrBehind
			case fails[name] > 0:
				fails[name]--
				failed[string(ms[i].Key)] = true
				errs[i] = errTransient
			}
		}
		if len(failed) == 0 {
			return nil
		}
		return &sink.PartialError{Errs: errs}
	}
}

func TestLaneThatFailsDelaysOnlyItself(t *testing.T) { // I6
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, flaky(map[string]int{"a": 9, "c": 1, "d": 1}))
		w := newOwner()
		r.add(t, newOutput(w, 1, "a"))
		r.wrote(t, "0s a")
		time.Sleep(60 * time.Millisecond)
		r.add(t, newOutput(w, 1, "b"))
		r.add(t, newOutput(w, 2, "x"))
		r.wrote(t, "50ms a", "60ms x")
		r.ended(t, "durable x")
		time.Sleep(16350*time.Millisecond - 60*time.Millisecond - time.Nanosecond)
		r.add(t, newOutput(w, 2, "y"))
		r.wrote(t, "150ms a+b", "350ms a+b", "750ms a+b", "1.55s a+b", "3.15s a+b", "6.35s a+b", "11.35s a+b", "16.349999999s y") // a pause is at most 5 s
		time.Sleep(time.Nanosecond)
		r.wrote(t, "16.35s a+b")
		r.ended(t, "durable y", "durable a", "durable b")

		// The next output's pause begins at 50 ms again. d, behind c, causes no delay itself.
		r.add(t, newOutput(w, 1, "c"))
		r.wrote(t, "16.35s c")
		r.add(t, newOutput(w, 1, "d"))
		time.Sleep(time.Second)
		r.wrote(t, "16.4s c+d", "16.45s d")
		r.ended(t, "durable c", "durable d")
		r.close(t, w)
	})
}

func TestLaneWaitsForThePauseOfItsFirstOutputThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []error{errTransient, errTransient, &sink.PartialError{Errs: []error{nil, errTransient}}, nil}
		r := newRig(t, 1, func(context.Context, int, []keystrand.Message) error {
			err := answers[0]
			answers = answers[1:]
			return err
		})
		w := newOwner()
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		r.add(t, newOutput(w, 1, "b"))
		time.Sleep(time.Second)
		r.wrote(t, "0s a", "50ms a+b", "150ms a+b", "250ms b") // a has failed twice by then, b twice after that
		r.close(t, w)
	})
}

func TestWriteThatDoesNotReturnHoldsOnlyItsWritersLanes(t *testing.T) { // I6
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(ctx context.Context, writer int, _ []keystrand.Message) error {
			if writer == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		w := newOwner()
		for _, o := range []*Output[string]{newOutput(w, 1, "stuck"), newOutput(w, 3, "same writer"), newOutput(w, 2, "a")} {
			r.add(t, o)
			synctest.Wait()
		}
		several, both := newOutput(w, 2, "several"), newOutput(w, 2, "of the other lanes")
		several.More, both.More = []uint64{1}, []uint64{4}
		r.add(t, both)
		r.add(t, several)
		time.Sleep(time.Hour)
		r.wrote(t, "0s stuck", "0s a", "0s of the other lanes")
		r.ended(t, "durable a", "durable of the other lanes")
		if n := w.Pending(); n != 3 {
			t.Errorf("%d outputs are pending, want 3", n)
		}
		w.Cut()
		r.x.Cut(w)
		r.ended(t, "dropped same writer", "dropped stuck", "dropped several")
		r.close(t, w)
	})
}

// A refused output is replaced by an output of another outlet, like a dead letter. An output of all lanes waits for both.
func TestHookMayAddToAnotherOutlet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		write, calls := calling()
		letters := newRig(t, 1, write)
		w := newOwner()
		hooks := letters.hooks()
		hooks.Refused = func(o *Output[string], cause error) Refusal {
			if !errors.Is(cause, errTooLarge) {
				t.Errorf("Refused: cause = %v", cause)
			}
			if letters.x.Add(newOutput(o.Owner, o.Lane, "letter of "+o.Value)) {
				return Ended
			}
			return WriteAgain
		}
		x, err := Open(&fakeSink{write: func(_ context.Context, _ int, ms []keystrand.Message) error {
			if string(ms[0].Value) == "a" {
				return errTooLarge
			}
			return nil
		}}, 1, hooks)
		if err != nil {
			t.Fatal(err)
		}
		all := newOutput(w, 0, "all")
		all.All = true
		if !x.Add(newOutput(w, 1, "a")) || !x.Add(all) {
			t.Error("Add = false")
		}
		time.Sleep(time.Second)
		letters.wrote(t, "0s letter of a")
		letters.ended(t)
		if n := w.Pending(); n != 2 {
			t.Errorf("%d outputs are pending, want 2: the letter and the output of all lanes", n)
		}
		(<-calls).answer <- nil
		letters.ended(t, "durable letter of a", "durable all")
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		letters.close(t, w)
	})
}

// Otherwise the caller could settle the later output before the earlier one.
func TestOutputOfSeveralLanesIsWrittenOnlyWhenTheHookWasToldOfThoseBefore(t *testing.T) { // I1
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(context.Context, int, []keystrand.Message) error { return nil })
		w := newOwner()
		told := make(chan struct{})
		r.durable = func() { <-told }
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		several := newOutput(w, 2, "several") // its own writer is idle
		several.More = []uint64{1}
		r.add(t, several)
		r.wrote(t, "0s a")
		close(told)
		r.wrote(t, "0s several")
		r.ended(t, "durable a", "durable several")
		r.close(t, w)
	})
}

// Runs on real threads: an earlier output ends at the moment at which the output of all lanes is added.
func TestOutputOfAllLanesWaitsThoughAnotherEndsAsItIsAdded(t *testing.T) { // I1
	r := newRig(t, 1, func(context.Context, int, []keystrand.Message) error { return nil })
	var begun, over atomic.Pointer[Owner[string]]
	stop := newOwner()
	go func() { // ends one output of each owner
		var last *Owner[string]
		for last != stop {
			if w := begun.Load(); w == last {
				runtime.Gosched()
			} else {
				last = w
				w.ended(1)
				over.Store(w)
			}
		}
	}()
	for i := range 50_000 {
		w, all := newOwner(), newOutput(nil, 0, "all")
		all.Owner, all.All = w, true
		w.pending.Store(2)
		begun.Store(w)
		for range i % 64 {
			_ = over.Load() // delays Add by a varying time
		}
		r.add(t, all)
		for over.Load() != w {
			runtime.Gosched()
		}
		if w.last.Load() != all || w.Pending() != 2 {
			t.Fatalf("round %d: the output of all lanes is written before another has ended", i)
		}
	}
	stop.pending.Store(2)
	begun.Store(stop)
	for over.Load() != stop {
		runtime.Gosched()
	}
	r.close(t)
}

func TestWriteIsBoundedInMessagesAndBytes(t *testing.T) {
	for _, c := range []struct {
		name            string
		outputs         int
		messages, bytes int // of each output
		want            []int
	}{
		{"messages", 2*writeMessages + 1, 1, 1, []int{writeMessages, writeMessages, 1}},
		{"outputs stay whole", 3, writeMessages/2 + 1, 1, []int{writeMessages/2 + 1, writeMessages/2 + 1, writeMessages/2 + 1}},
		{"larger than a Write", 2, writeMessages + 1, 1, []int{writeMessages + 1, writeMessages + 1}},
		{"bytes", 5, 1, writeBytes/2 - 1000, []int{3, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				var got []int
				r := newRig(t, 1, func(_ context.Context, _ int, ms []keystrand.Message) error {
					if string(ms[0].Value) == "gate" {
						<-gate
					} else {
						got = append(got, len(ms))
					}
					return nil
				})
				w := newOwner()
				r.add(t, newOutput(w, 1<<20, "gate"))
				synctest.Wait()
				for i := range c.outputs {
					o := newOutput(w, uint64(i/2), "x") // two for each lane
					o.Messages[0].Value = make([]byte, c.bytes)
					o.Messages = slices.Repeat(o.Messages, c.messages)
					r.add(t, o)
				}
				close(gate)
				synctest.Wait()
				if !slices.Equal(got, c.want) {
					t.Errorf("Writes of %d messages, want %d", got, c.want)
				}
				r.close(t, w)
			})
		})
	}
}

func TestOwnerIsToldWhenOutputsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, flaky(map[string]int{"b": 1}))
		var pending []int64
		var w *Owner[string]
		w = NewOwner[string](func() {
			pending = append(pending, w.Pending()) // must not deadlock: no lock is held
			r.x.Find(w, func(*Output[string]) bool { return true })
		})
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		r.add(t, newOutput(w, 2, "b"))
		synctest.Wait()
		if !r.x.Find(w, func(o *Output[string]) bool { return o.Value == "b" }) || r.x.Find(w, func(o *Output[string]) bool { return o.Value == "a" }) {
			t.Error("Find does not find b, or finds a, which has ended")
		}
		r.add(t, newOutput(w, 3, "c"))
		synctest.Wait()
		r.close(t, w)
		if !slices.Equal(pending, []int64{0, 1, 0}) {
			t.Errorf("pending = %d", pending)
		}
	})
}

func TestOpenClosesWhatItHasOpenedIfOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errOpen, errClose := errors.New("open"), errors.New("close")
		var closed []int
		s := &fakeSink{
			open: func(writer int) error {
				if writer == 2 {
					return errOpen
				}
				return nil
			},
			close: func(writer int) error {
				closed = append(closed, writer)
				return errClose
			},
		}
		x, err := Open(s, 4, Hooks[string]{})
		if x != nil || !errors.Is(err, errOpen) || !errors.Is(err, errClose) || !slices.Equal(closed, []int{0, 1}) {
			t.Errorf("Open = %v, %v; closed %d", x, err, closed)
		}
		if _, err := Open(noWriter{}, 1, Hooks[string]{}); err == nil || !strings.Contains(err.Error(), "outlet.noWriter.Open returned no writer and no error") {
			t.Errorf("Open = %v", err)
		}
	})
}

// noWriter returns no writer and no error.
type noWriter struct{ sink.Sink }

func (noWriter) Open() (sink.Writer, error) { return nil, nil }
