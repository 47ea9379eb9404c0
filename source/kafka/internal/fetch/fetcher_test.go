package fetch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source"
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

// A request ahead finds nothing, and then there is no room to fetch ahead. Nothing is requested until the next Read.
func TestReaderThatIsNotAskedDoesNotStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			a := kafkatest.Answer{End: 1 << 40}
			if offset == 0 {
				a.Set = kafkatest.Batch{Base: offset, Records: []int{0}, Value: "v"}.Bytes()
			}
			return a
		})
		k.cfg.Buffers = &buffer.Pool{}
		const limit = 1 << 20
		k.cfg.Buffers.Limit(limit)
		r := newReader(t, k.cfg, 0)
		read := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
		}
		if err := read(time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		others := k.cfg.Buffers.Lend(limit)
		time.Sleep(time.Hour)
		if r.Stalled() {
			t.Error("the reader is stalled while nobody reads")
		}
		if err := read(10 * time.Second); err == nil || r.Stalled() {
			t.Errorf("the reader is stalled %v after a Read of 10 s: %v", r.Stalled(), err)
		}
		if err := read(30 * time.Second); err == nil || !r.Stalled() {
			t.Errorf("the reader is stalled %v after Reads of 40 s: %v", r.Stalled(), err)
		}
		k.cfg.Buffers.Return(others)
	})
}

func TestLogsOfAReaderNameThePackageAndThePartition(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	f := &fetcher{cfg: &Config{Log: log, Quota: &Quota{}, Faults: &Faults{}}, topic: "orders", partition: 3, watch: newWatch("orders", 3, 0)}
	for range 2 {
		f.trouble(t.Context(), errors.New("refused"))
	}
	f.healed(t.Context())
	w := newWatch("orders", 3, 0)
	w.end.Store(100)
	for range 3 {
		w.check(t.Context(), log, 7)
	}
	w.check(t.Context(), log, 8)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Errorf("%d lines, want 4", len(lines))
	}
	for _, line := range lines {
		for _, want := range []string{`msg="kafka: `, " stream=orders ", " partition=3 "} {
			if !strings.Contains(line, want) {
				t.Errorf("%s does not contain %s", line, want)
			}
		}
	}
}
