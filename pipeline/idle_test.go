package pipeline

import (
	"context"
	"testing"

	"github.com/keystrand/keystrand"
)

// A worker that sleeps keeps no message, neither of its last turn nor of a longer turn before, and no output.
func TestSleepingWorkerKeepsNoMessages(t *testing.T) {
	s, next := &scratch{}, transformNext(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
		emit(*m)
		return nil
	}))
	for _, n := range []int{3, 1} {
		items := make([]*item, n)
		for i := range items {
			items[i] = &item{Message: keystrand.Message{Value: []byte("v")}}
		}
		if err := next(t.Context(), s.callOf(items)); err != nil {
			t.Fatal(err)
		}
	}
	emitted := s.call.Emitted()
	idle(s)
	for i, m := range s.messages[:cap(s.messages)] {
		if m != nil {
			t.Errorf("message %d of an earlier turn is kept", i)
		}
	}
	if emitted[0].Value != nil || len(s.call.Emitted()) != 0 {
		t.Errorf("an emitted message is kept")
	}
}
