package outlet

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// call is a Write that waits for its answer.
type call struct {
	told   func() bool // reports whether its ctx has ended
	answer chan error
}

// calling returns a Write that sends each call to calls and waits for its answer, even after its ctx has ended.
func calling() (write func(context.Context, int, []keystrand.Message) error, calls chan *call) {
	calls = make(chan *call, 10)
	return func(ctx context.Context, _ int, _ []keystrand.Message) error {
		c := &call{func() bool { return ctx.Err() != nil }, make(chan error)}
		calls <- c
		return <-c.answer
	}, calls
}

// The Write also has an output of another owner, which is written again at once: leaving is not failing. A cancelled Write
// refuses nothing, and the outputs that it has stored are durable.
func TestCutTellsTheWriteUnderWayToReturnAndDropsTheRest(t *testing.T) { // I11
	synctest.Test(t, func(t *testing.T) {
		write, calls := calling()
		r := newRig(t, 1, write)
		leaves, stays := newOwner(), newOwner()
		r.add(t, newOutput(stays, 9, "gate"))
		gate := <-calls
		other := newOutput(leaves, 1, "other key")
		other.Messages[0].Key = []byte("other")
		for _, o := range []*Output[string]{newOutput(leaves, 1, "a"), other, newOutput(leaves, 2, "stored"), newOutput(stays, 1, "x")} {
			r.add(t, o)
		}
		gate.answer <- nil
		c := <-calls
		r.wrote(t, "0s gate", "0s a+stored+x")
		r.ended(t, "durable gate")

		several, all := newOutput(leaves, 3, "several"), newOutput(leaves, 0, "all")
		several.More, all.All = []uint64{1, 4}, true
		for _, o := range []*Output[string]{newOutput(leaves, 4, "b"), several, all} {
			r.add(t, o)
		}
		idle := newOwner()
		idle.Cut()
		r.x.Cut(idle)
		if c.told() {
			t.Error("a Write without outputs of the cut owner is cancelled")
		}
		leaves.Cut()
		r.x.Cut(leaves)
		if !c.told() {
			t.Error("the running Write is not cancelled")
		}
		if r.x.Add(newOutput(leaves, 1, "late")) {
			t.Error("Add returns true though the owner is cut")
		}
		synctest.Wait()
		slices.Sort(r.ends)
		r.ended(t, "dropped all", "dropped b", "dropped other key")
		if n := leaves.Pending(); n != 3 {
			t.Errorf("%d outputs are pending, want 3: two in the Write, one of several lanes behind them", n)
		}
		c.answer <- &sink.PartialError{Errs: []error{errTooLarge, nil, errTransient}}
		c = <-calls
		r.wrote(t, "0s x")
		r.ended(t, "durable stored", "dropped a", "dropped several")
		c.answer <- nil
		r.ended(t, "durable x")
		r.close(t, leaves, stays)
	})
}

func TestWriteThatEndsItsGoroutineIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		r := newRig(t, 1, func(context.Context, int, []keystrand.Message) error {
			if first {
				first = false
				runtime.Goexit()
			}
			return nil
		})
		w := newOwner()
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		if len(r.broken) != 1 || !strings.Contains(r.broken[0].Error(), "runtime.Goexit") {
			t.Errorf("Broken received %v, want one error with runtime.Goexit", r.broken)
		}
		r.add(t, newOutput(w, 2, "b"))
		time.Sleep(50 * time.Millisecond)
		r.wrote(t, "0s a", "0s b", "50ms a")
		r.ended(t, "durable b", "durable a")
		r.close(t, w)
	})
}
