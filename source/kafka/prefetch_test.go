package kafka_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source"
)

// Each of many partitions has a large backlog and is read slowly, as by a slow handler.
func TestPrefetchOfManyPartitionsStaysWithinTheLimit(t *testing.T) {
	const partitions, limit, value, batch = 30, 3 << 20, 1000, 10_000
	inWorld(t, partitions, func(w *world) {
		t := w.t
		cl := w.client(kgo.ProducerBatchMaxBytes(batch), kgo.ProducerBatchCompression(kgo.NoCompression()))
		defer cl.Close()
		var rs []*kgo.Record
		for i := range 300 {
			for p := range int32(partitions) {
				rs = append(rs, &kgo.Record{Topic: w.topic, Partition: p, Key: fmt.Append(nil, i), Value: bytes.Repeat([]byte{'v'}, value)})
			}
		}
		if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		var largest atomic.Int32
		w.cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			if req, ok := r.(*kmsg.FetchRequest); ok {
				largest.Store(max(largest.Load(), req.MaxBytes))
			}
			return nil, nil, false
		})

		s := w.source("g")
		s.LimitPrefetch(limit)
		ps := w.accept(s, partitions)
		for range 20 {
			for _, p := range ps {
				if err := p.Fetch(t.Context(), &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if held := s.Prefetched(); held > limit || held < partitions*batch {
				t.Errorf("the source holds %d bytes, want at most %d, and a batch a partition", held, limit)
			}
		}
		if got := largest.Load(); got > limit/partitions/3 {
			t.Errorf("a request asked for %d bytes, want at most a third of the share of %d", got, limit/partitions)
		}
		w.close(s, ps)
		if held := s.Prefetched(); held != 0 {
			t.Errorf("the source holds %d bytes after the last Release", held)
		}
	})
}
