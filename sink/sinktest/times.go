package sinktest

import (
	"context"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// timeIsKeptOrRefused writes times that encoders get wrong. It leaves out those after 2262, because some client libraries
// read them wrong, and the suite reads through them.
func timeIsKeptOrRefused(ctx context.Context, env *Env, w sink.Writer) error {
	want := make(map[string]int64)
	for _, ms := range []int64{0, 1, -2, -14_182_939_876, 946_684_800_123, 4_102_444_800_000} {
		m := keystrand.Message{Stream: env.Stream, Key: fmt.Append(nil, ms), Value: []byte("v"), Time: time.UnixMilli(ms)}
		err := w.Write(ctx, []keystrand.Message{m})
		if outcome, _ := keystrand.OutcomeOf(err); err != nil && outcome != keystrand.OutcomePermanent {
			return fmt.Errorf("time %v: %w: want a permanent error", m.Time.UTC(), err)
		}
		if err == nil {
			want[string(m.Key)] = ms
		}
	}
	got, err := env.Stored(ctx)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d messages are stored, want %d", len(got), len(want))
	}
	for i := range got {
		if ms := got[i].Time.UnixMilli(); ms != want[string(got[i].Key)] {
			return fmt.Errorf("time %s ms is stored as %d ms: store it as it is, or refuse it with keystrand.Permanent", got[i].Key, ms)
		}
	}
	return nil
}
