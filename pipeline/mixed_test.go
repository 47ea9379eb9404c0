package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/pipeline/pipelinetest"
	sink "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// I1: a sink keeps only the order of each output key. Two outputs of one lane with different keys must not be in one
// Write, or only the later one might be stored.
func TestEffectsOfALaneStayInOrderWithDifferentKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("in", 1)
		for i := range 60 {
			log.Append(0, keystrand.Message{Key: []byte("lane"), Value: strconv.AppendInt(nil, int64(i), 10)})
		}
		log.Close()
		out := sink.New()
		refused := map[string]int{}
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if refused[string(m.Value)]++; refused[string(m.Value)] == 1 && len(m.Value)%2 == 1 {
				return errors.New("not now")
			}
			return nil
		})
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(keystrand.Message{Stream: "out", Key: fmt.Append(nil, m.Offset%3), Value: m.Value})
				return nil
			})).
			To(out).
			Build()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, m := range out.Messages() {
			if string(m.Value) != strconv.Itoa(i) {
				t.Fatalf("I1: position %d of the sink holds the output of message %s", i, m.Value)
			}
		}
	})
}

func TestPanicOfMiddlewareIsAFailureOfItsMessage(t *testing.T) {
	r := pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.Use(func(next keystrand.Next) keystrand.Next {
			return func(ctx context.Context, c *keystrand.Call) error {
				if c.Messages[0].Offset == 1 {
					panic("middleware")
				}
				return next(ctx, c)
			}
		}).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return nil })).
			OnFailure(pipeline.Skip)
	}, keystrand.Message{}, keystrand.Message{}, keystrand.Message{})
	if r.Err != nil || r.Committed != 3 || r.Snapshot.Failed != 1 || r.Snapshot.Skipped != 1 {
		t.Errorf("err %v, committed %d, failed %d, skipped %d", r.Err, r.Committed, r.Snapshot.Failed, r.Snapshot.Skipped)
	}
}
