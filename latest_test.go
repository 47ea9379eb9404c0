package keystrand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
)

func TestLatestHandlesTheNewestMessage(t *testing.T) {
	boom := errors.New("boom")
	three := []*keystrand.Message{{Offset: 1}, {Offset: 2}, {Offset: 5}}
	for _, c := range []struct {
		name    string
		ms      []*keystrand.Message
		err     error // of the handler
		settled int   // BatchError.Settled; -1: no error
		outcome keystrand.Outcome
	}{
		{"success settles all", three, nil, -1, keystrand.OutcomeHandled},
		{"a failure names the newest", three, boom, 2, keystrand.OutcomeFailed},
		{"so does a retry", three, keystrand.RetryAfter(time.Second, boom), 2, keystrand.OutcomeRetry},
		{"and Later", three, keystrand.Later(time.Second, "limit"), 2, keystrand.OutcomePostponed},
		{"and a skip", three, keystrand.Skip("old"), 2, keystrand.OutcomeSkipped},
		{"one message", three[:1], boom, 0, keystrand.OutcomeFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int64
			err := keystrand.Latest(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				got = append(got, m.Offset)
				return c.err
			})).HandleBatch(t.Context(), c.ms)
			if len(got) != 1 || got[0] != c.ms[len(c.ms)-1].Offset {
				t.Errorf("the handler got %d, want the newest message alone", got)
			}
			settled := -1
			if e, ok := errors.AsType[*keystrand.BatchError](err); ok {
				settled = e.Settled
			}
			if o, _ := keystrand.OutcomeOf(err); o != c.outcome || settled != c.settled {
				t.Errorf("outcome %v, %d settled; want %v, %d: %v", o, settled, c.outcome, c.settled, err)
			}
		})
	}
}
