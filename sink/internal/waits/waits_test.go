package waits_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/sink/internal/waits"
)

func TestARequestIsLateUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w waits.Waits[string]
		w.Sending("a")
		time.Sleep(time.Second - 1)
		if k, _, late := w.Late(); late {
			t.Errorf("%q is late before a second has passed", k)
		}
		time.Sleep(time.Nanosecond)
		w.Sending("b")
		if k, d, late := w.Late(); !late || k != "a" || d != time.Second {
			t.Errorf("Late = %q, %v, %t, want a, 1s, true", k, d, late)
		}
		w.Answered("a")
		if k, _, late := w.Late(); late {
			t.Errorf("%q is late after the answer to a", k)
		}
	})
}

func TestTheLastErrorEndsWithItsWrite(t *testing.T) {
	var w waits.Waits[int]
	w.Begin()
	w.Set(errors.New("no leader"))
	if began, err := w.Err(); began.IsZero() || err == nil {
		t.Errorf("Err = %v, %v during a Write, want its start and its error", began, err)
	}
	w.End()
	if began, err := w.Err(); !began.IsZero() || err != nil {
		t.Errorf("Err = %v, %v after a Write, want nothing", began, err)
	}
	w.Set(errors.New("no leader"))
	w.Begin()
	if _, err := w.Err(); err != nil {
		t.Errorf("Err = %v at the start of a Write, want nil", err)
	}
}
