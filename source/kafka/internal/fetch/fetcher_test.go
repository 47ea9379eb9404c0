package fetch

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// endingContext ends as soon as ended reports true.
type endingContext struct {
	context.Context
	ended func() bool
}

func (c endingContext) Err() error {
	if c.ended() {
		return context.Canceled
	}
	return nil
}

// Close may come after the response has arrived and before the fetcher looks at its context again.
func TestFetcherReturnsAResponseThatArrivesAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 1000)
		k.cfg.Buffers = &buffer.Pool{}
		f := newReader(t, k.cfg, 0).fetcher
		f.run(endingContext{context.Background(), func() bool { return f.ask > 0 }})
		if f.ask != 1000 {
			t.Errorf("the fetcher ended at offset %d, want 1000", f.ask)
		}
		if lent, ahead := k.cfg.Buffers.Lent(), k.cfg.Buffers.Reserved(); lent != 0 || ahead != 0 {
			t.Errorf("%d bytes are lent and %d reserved after the fetcher has ended", lent, ahead)
		}
	})
}
