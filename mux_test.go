package keystrand_test

import (
	"context"
	"testing"

	"github.com/keystrand/keystrand"
)

func TestMuxCallsTheHandlerOfTheStreamAndFailsForAnUnknownStream(t *testing.T) {
	var got string
	handler := func(name string) keystrand.Handler {
		return keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { got = name; return nil })
	}
	batch := func(name string) keystrand.BatchHandler {
		return keystrand.BatchHandlerFunc(func(context.Context, []*keystrand.Message) error { got = name; return nil })
	}
	transformer := func(name string) keystrand.Transformer {
		return keystrand.TransformerFunc(func(context.Context, *keystrand.Message, func(keystrand.Message)) error { got = name; return nil })
	}
	mux := keystrand.Mux{"orders": handler("orders"), "users": handler("users")}
	batches := keystrand.BatchMux{"orders": batch("orders"), "users": batch("users")}
	transforms := keystrand.TransformMux{"orders": transformer("orders"), "users": transformer("users")}
	for name, c := range map[string]struct {
		call func(m *keystrand.Message) error
		rest func()
	}{
		"Mux":          {func(m *keystrand.Message) error { return mux.Handle(t.Context(), m) }, func() { mux[""] = handler("rest") }},
		"BatchMux":     {func(m *keystrand.Message) error { return batches.HandleBatch(t.Context(), []*keystrand.Message{m, m}) }, func() { batches[""] = batch("rest") }},
		"TransformMux": {func(m *keystrand.Message) error { return transforms.Transform(t.Context(), m, nil) }, func() { transforms[""] = transformer("rest") }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []string{"orders", "users"} {
				if err := c.call(&keystrand.Message{Stream: stream}); err != nil || got != stream {
					t.Errorf("stream %s: handler %q was called, error %v", stream, got, err)
				}
			}
			got = ""
			err := c.call(&keystrand.Message{Stream: "posts", Partition: 3, Offset: 9})
			if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || got != "" {
				t.Errorf("unknown stream: handler %q was called, error %v; want a permanent failure", got, err)
			}
			if err != nil && err.Error() != `keystrand: no handler for stream "posts" (partition 3, offset 9): add one to the Mux` {
				t.Errorf("error = %q", err)
			}
			c.rest()
			if err := c.call(&keystrand.Message{Stream: "posts"}); err != nil || got != "rest" {
				t.Errorf("unknown stream: handler %q was called, error %v; want the handler of the empty name", got, err)
			}
		})
	}
}
