// Virtual time: the tests that use it make it.

package fetch

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// broker is a cluster in this process, and a configuration to read it.
type broker struct {
	*kafkatest.Broker
	cfg Config
}

func newBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	k := kafkatest.NewBroker(t, opts...)
	return &broker{k, Config{Cluster: k.Client}}
}

// later runs f after a while. What it returns waits for f and is to be deferred: a reader can have a record before the one
// who produces it has the answer.
func later(d time.Duration, f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(func() {
		time.Sleep(d)
		f()
	})
	return running.Wait
}

func newReader(t *testing.T, cfg Config, start int64) *Reader {
	t.Helper()
	r := NewReader(cfg, "t", 0, start)
	t.Cleanup(r.Close)
	return r
}

// readTo reads until the position is at least to, an error or a minute without anything. It checks what holds always:
// offsets ascend, none is below the start, Next is behind all of them and never goes back.
func readTo(t *testing.T, r *Reader, to int64) ([]keystrand.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []keystrand.Message
	last := r.Position() - 1
	for r.Position() < to {
		b := source.Batch{MaxMessages: 7, MaxBytes: 1 << 20}
		from := r.Position()
		if err := r.Read(ctx, &b); err != nil {
			return all, err
		}
		if b.Next <= from || b.Next != r.Position() {
			t.Fatalf("Next = %d, position %d, after position %d", b.Next, r.Position(), from)
		}
		for _, m := range b.Messages {
			if m.Offset <= last || m.Offset >= b.Next {
				t.Fatalf("offset %d after %d, Next = %d", m.Offset, last, b.Next)
			}
			last = m.Offset
		}
		all = append(all, b.Messages...)
	}
	return all, nil
}

func offsetsOf(ms []keystrand.Message) []int64 {
	os := []int64{}
	for i := range ms {
		os = append(os, ms[i].Offset)
	}
	return os
}

func logID(t *testing.T, cfg Config, topic string) (string, error) {
	t.Helper()
	found, err := cfg.Cluster.Topics(t.Context(), []string{topic})
	return found[topic].LogID, err
}
