package outlet

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

var errRefused = keystrand.Permanent(errors.New("too large"))

// refusing returns a rig with a sink that refuses the message "a", and with refused as the hook Refused.
func refusing(t *testing.T, refused func(*rig, *Output[string]) Refusal) *rig {
	t.Helper()
	r := &rig{}
	hooks := r.hooks()
	hooks.Refused = func(o *Output[string], _ error) Refusal { return refused(r, o) }
	x, err := Open(&fakeSink{write: func(_ context.Context, _ int, ms []keystrand.Message) error {
		for i := range ms {
			if string(ms[i].Value) == "a" {
				return errRefused
			}
		}
		return nil
	}}, 1, hooks)
	if err != nil {
		t.Fatal(err)
	}
	r.x = x
	return r
}

func TestOutputsBehindAHeldOneWaitUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refusing(t, func(*rig, *Output[string]) Refusal { return Hold })
		w := newOwner()
		a := newOutput(w, 1, "a")
		r.add(t, a)
		synctest.Wait()
		r.add(t, newOutput(w, 1, "b"))
		r.add(t, newOutput(w, 2, "other"))
		both := newOutput(w, 3, "several")
		both.More = []uint64{1}
		r.add(t, both)
		synctest.Wait()
		r.ended(t, "durable other")
		held := false
		if !r.x.Find(w, func(o *Output[string]) bool { held = o == a && o.Held(); return held }) || !held {
			t.Error("Find does not see the held output")
		}
		r.x.End(a)
		r.x.End(a) // does nothing
		synctest.Wait()
		r.ended(t, "durable b", "durable several")
		r.close(t, w)
	})
}

func TestHeldOutputMayEndBeforeTheWriteThatRefusedItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOwner()
		r := refusing(t, func(r *rig, o *Output[string]) Refusal {
			r.x.Add(newOutput(w, 1, "b"))
			r.x.End(o)
			return Hold
		})
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		r.ended(t, "durable b")
		if n := w.Pending(); n != 0 {
			t.Errorf("%d outputs are pending, want 0", n)
		}
		r.close(t, w)
	})
}

func TestCutEndsAHeldOutputWithoutDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refusing(t, func(*rig, *Output[string]) Refusal { return Hold })
		w := newOwner()
		a := newOutput(w, 1, "a")
		r.add(t, a)
		synctest.Wait()
		r.add(t, newOutput(w, 1, "b"))
		synctest.Wait()
		w.Cut()
		r.x.Cut(w)
		r.x.End(a)
		r.ended(t, "dropped b")
		if n := w.Pending(); n != 0 {
			t.Errorf("%d outputs are pending, want 0", n)
		}
		r.close(t, w)
	})
}

// refusingFirst returns a rig with a gated sink that refuses the first Write after the gate. Outputs named "a" are held,
// others are written again. The outputs are added to one lane and refused in one Write.
func refusingFirst(t *testing.T, w *Owner[string], outputs ...*Output[string]) *rig {
	t.Helper()
	gate := make(chan error)
	refuse := true
	r := newRig(t, 1, func(_ context.Context, _ int, ms []keystrand.Message) error {
		switch {
		case string(ms[0].Value) == "gate":
			return <-gate
		case refuse:
			refuse = false
			return errRefused
		}
		return nil
	})
	r.x.hooks.Refused = func(o *Output[string], _ error) Refusal {
		if o.Value == "a" {
			return Hold
		}
		return WriteAgain
	}
	r.add(t, newOutput(w, 2, "gate"))
	synctest.Wait()
	for _, o := range outputs {
		r.add(t, o)
	}
	gate <- nil
	synctest.Wait()
	return r
}

func TestOutputBehindAHeldOneKeepsItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOwner()
		a := newOutput(w, 1, "a")
		r := refusingFirst(t, w, a, newOutput(w, 1, "b"))
		r.x.End(a)
		time.Sleep(time.Second)
		r.wrote(t, "0s gate", "0s a+b", "50ms b")
		r.close(t, w)
	})
}

func TestHeldOutputIsNotWrittenWithTheOneBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOwner()
		a := newOutput(w, 1, "a")
		r := refusingFirst(t, w, newOutput(w, 1, "before"), a, newOutput(w, 1, "behind"))
		time.Sleep(time.Second)
		r.wrote(t, "0s gate", "0s before+a+behind", "50ms before")
		r.x.End(a)
		r.wrote(t, "1s behind")
		r.ended(t, "durable gate", "durable before", "durable behind")
		r.close(t, w)
	})
}
