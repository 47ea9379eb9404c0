package pulsar

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

// Without its property, the client library would drop a Java tombstone.
func TestEmptyValueReachesADecodedHandlerAsATombstone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		b.create("orders", 1)
		for _, value := range [][]byte{nil, {}, []byte(`{"n":7}`)} {
			b.produce("orders-partition-0", keystrand.Message{
				Key: []byte("k"), Value: value, Headers: []keystrand.Header{{Key: "a", Value: []byte("1")}},
			})
		}
		src, _, err := b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		var values []int
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		d := keystrand.NewDecoder[struct{ N int }](json.Unmarshal)
		p, err := pipeline.From(src).Handle(d.Handle(func(_ context.Context, m *keystrand.Message, v struct{ N int }) error {
			if (m.Value == nil) != (len(values) < 2) {
				t.Errorf("message %d has the value %#v", len(values), m.Value)
			}
			if values = append(values, v.N); len(values) == 3 {
				cancel()
			}
			return nil
		})).Build()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil || len(values) != 3 || values[2] != 7 {
			t.Errorf("handled %v, Run returned %v; want two tombstones and 7", values, err)
		}
	})
}
