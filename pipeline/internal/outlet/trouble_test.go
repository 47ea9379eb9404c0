package outlet

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

// A halted output stays first in its lane; a cut drops it and those behind it. Other lanes go on.
func TestHaltedOutputIsNotWrittenAgainAndDroppedByACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := refusing(t, func(*rig, *Output[string]) Refusal { asked++; return Halt })
		w := newOwner()
		r.add(t, newOutput(w, 1, "a"))
		synctest.Wait()
		r.add(t, newOutput(w, 1, "b"))
		r.add(t, newOutput(w, 2, "other"))
		time.Sleep(time.Hour)
		r.ended(t, "durable other")
		if some, writable := r.x.Waiting(w); !some || writable || w.Pending() != 2 || asked != 1 {
			t.Errorf("waiting %v, to be written %v, %d pending, written %d times; want true, false, 2, once", some, writable, w.Pending(), asked)
		}
		if some, writable := r.x.Waiting(newOwner()); some || writable {
			t.Errorf("another owner: waiting %v, to be written %v", some, writable)
		}
		if tr, ok := r.x.Trouble(); ok {
			t.Errorf("a halted output is no trouble: %+v", tr)
		}
		w.Cut()
		r.x.Cut(w)
		r.ended(t, "dropped a", "dropped b")
		r.close(t, w)
	})
}

// A rewritten output is written at once, with the messages that Refused has set, before those behind it.
func TestRewrittenOutputIsWrittenAtOnceInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := refusing(t, func(_ *rig, o *Output[string]) Refusal {
			o.Messages[0].Value = []byte("smaller")
			return Rewrite
		})
		w := newOwner()
		r.add(t, newOutput(w, 1, "a"))
		r.add(t, newOutput(w, 1, "b"))
		r.ended(t, "durable a", "durable b") // at once: no time has passed
		r.close(t, w)
	})
}

// Trouble lasts while an output waits to be written again, although other lanes are written.
func TestTroubleLastsUntilTheFailedOutputIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause, heals := errors.New("no leader"), time.Now().Add(time.Minute)
		r := newRig(t, 1, func(_ context.Context, _ int, ms []keystrand.Message) error {
			if string(ms[0].Value) == "bad" && time.Now().Before(heals) {
				return cause
			}
			return nil
		})
		w, began := newOwner(), time.Now()
		r.add(t, newOutput(w, 1, "bad"))
		for range 50 {
			time.Sleep(time.Second)
			r.add(t, newOutput(w, 2, "good"))
			synctest.Wait()
			if tr, ok := r.x.Trouble(); !ok || !errors.Is(tr.Err, cause) || !tr.Since.Equal(began) {
				t.Fatalf("trouble %+v, %v", tr, ok)
			}
		}
		time.Sleep(time.Minute)
		if tr, ok := r.x.Trouble(); ok {
			t.Errorf("trouble after all is written: %+v", tr)
		}
		r.close(t, w)
	})
}

// Trouble ends with the outputs that were in trouble: later outputs, of another owner, begin anew.
func TestTroubleEndsWhenTheFailedOutputIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, func(ctx context.Context, _ int, ms []keystrand.Message) error {
			if string(ms[0].Value) == "bad" {
				return errors.New("no topic")
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		before, after := newOwner(), newOwner()
		r.add(t, newOutput(before, 1, "bad"))
		time.Sleep(time.Hour)
		before.Cut()
		r.x.Cut(before)
		r.add(t, newOutput(after, 1, "good"))
		time.Sleep(time.Minute)
		if tr, ok := r.x.Trouble(); ok {
			t.Errorf("trouble of an output that is cut: %+v", tr)
		}
		after.Cut()
		r.x.Cut(after)
		synctest.Wait()
		r.close(t, after)
	})
}
