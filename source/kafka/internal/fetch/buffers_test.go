package fetch

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// A response may wait for Read, be half read, or be compressed, and a request may be under way when a reader is closed.
func TestClosedReaderHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
			k := newBroker(t, kfake.SeedTopics(1, "t"))
			cl := k.Producer(t, kgo.ProducerBatchCompression(codec))
			for range 3 {
				kafkatest.Produce(t, cl, 1000)
			}
			k.cfg.MaxBytes, k.cfg.Buffers = 1, &buffer.Pool{} // one batch a response
			r := newReader(t, k.cfg, 0)
			if err := r.Read(t.Context(), &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := k.cfg.Buffers.Lent(); n < 2*3000 {
				t.Errorf("%d bytes are lent while a response is read and another one waits", n)
			}
			r.Close()
			r.Close()
			if n := k.cfg.Buffers.Lent(); n != 0 {
				t.Errorf("after Close %d bytes are lent", n)
			}
			k.cfg.Buffers.Limit(1 << 20)
			if share := k.cfg.Buffers.Share(1 << 20); share != 1<<20/3 {
				t.Errorf("after Close another reader may ask for %d bytes, want a third of all", share)
			}
			k.Close()
		}
	})
}

func TestClosedReaderHoldsNothingAfterAReadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 1000)
		k.cfg.Buffers = &buffer.Pool{}
		r := newReader(t, k.cfg, 0)
		ended := make(chan error)
		go func() {
			for {
				if err := r.Read(context.Background(), &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}); err != nil {
					ended <- err
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		r.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Read returned %v", err)
		}
		if n := k.cfg.Buffers.Lent(); n != 0 {
			t.Errorf("after Close %d bytes are lent", n)
		}
	})
}

func TestIdleReaderHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		cl := k.Producer(t, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		bomb := &kgo.Record{Value: make([]byte, 900_000)} // some hundred bytes on the wire
		if err := cl.ProduceSync(t.Context(), bomb).FirstErr(); err != nil {
			t.Fatal(err)
		}
		k.cfg.Buffers = &buffer.Pool{}
		r := newReader(t, k.cfg, 0)
		if ms, err := readTo(t, r, 1); err != nil || !bytes.Equal(ms[0].Value, bomb.Value) {
			t.Fatal(len(ms), err)
		}
		synctest.Wait()
		if n := k.cfg.Buffers.Lent(); n != 0 {
			t.Errorf("%d bytes are lent at the end of the log", n)
		}
	})
}

// The memory of a large batch is not only no longer counted: the garbage collector frees it.
func TestMemoryOfALargeBatchIsFreed(t *testing.T) {
	for _, codec := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd, compress.None} {
		t.Run(codec.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const records, size = 16, 1 << 20
				batch := largeBatch(t, codec, records, size)
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					a := kafkatest.Answer{End: records}
					if offset < records {
						a.Set = batch
						batch = nil
					}
					return a
				})
				r := newReader(t, k.cfg, 0)
				before := heap()
				if ms, err := readTo(t, r, records); err != nil || len(ms) != records {
					t.Fatal(len(ms), err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_ = r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
				if kept := heap() - before; kept > 2*size {
					t.Errorf("%d bytes are kept 10 s after a batch of %d", kept, records*size)
				}
			})
		})
	}
}

func largeBatch(t *testing.T, codec compress.Compression, records, size int) []byte {
	t.Helper()
	var body []byte
	for i := range records {
		body = append(body, kafkatest.Record(i, nil, make([]byte, size))...)
	}
	if c := codec.Codec(); c != nil {
		var out bytes.Buffer
		w := c.NewWriter(&out)
		_, err := w.Write(body)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		body = out.Bytes()
	}
	return kafkatest.Batch{Last: int32(records - 1), Count: int32(records), Attrs: int16(codec), Body: body}.Bytes()
}

// heap returns the bytes in use. A sync.Pool keeps its content through one collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestReadersAskForTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var largest, requests atomic.Int32
		k.Serve(func(offset int64, maxBytes int32) kafkatest.Answer {
			largest.Store(max(largest.Load(), maxBytes))
			requests.Add(1)
			b := kafkatest.Batch{Base: offset, Records: []int{0}, Value: string(make([]byte, maxBytes/2))}
			return kafkatest.Answer{End: 1 << 40, Set: append(b.Bytes(), kafkatest.Batch{Base: offset + 1, Records: []int{0}, Value: string(make([]byte, maxBytes/3))}.Bytes()...)}
		})
		k.cfg.Buffers = &buffer.Pool{}
		const limit = 600_000
		k.cfg.Buffers.Limit(limit)
		readers := []*Reader{newReader(t, k.cfg, 0), newReader(t, k.cfg, 0)}
		for range 50 {
			for _, r := range readers {
				if err := r.Read(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if n := k.cfg.Buffers.Lent(); n > limit {
				t.Errorf("%d bytes are lent, the limit is %d", n, limit)
			}
		}
		if got := largest.Load(); got > limit/6 || got < limit/7 {
			t.Errorf("in %d requests two readers asked for up to %d bytes, want a sixth of %d", requests.Load(), got, limit)
		}
	})
}

// A broker sends a batch whole, however few bytes were asked for.
func TestReadersAtTheLimitFetchNothingAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		large := string(make([]byte, 100_000))
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			return kafkatest.Answer{End: 1 << 40, Set: kafkatest.Batch{Base: offset, Records: []int{0}, Value: large}.Bytes()}
		})
		k.cfg.Buffers = &buffer.Pool{}
		const limit = 600_000
		k.cfg.Buffers.Limit(limit)
		var readers []*Reader
		for range 40 {
			readers = append(readers, newReader(t, k.cfg, 0))
		}
		for round := range 10 {
			for _, r := range readers {
				b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
				if err := r.Read(t.Context(), &b); err != nil || len(b.Messages) != 1 || b.Next != int64(round+1) {
					t.Fatalf("round %d: %d messages, next %d, %v", round, len(b.Messages), b.Next, err)
				}
			}
			time.Sleep(time.Minute)
			if n := k.cfg.Buffers.Lent(); n > limit || n < limit/2 {
				t.Fatalf("round %d: %d bytes are lent while no Read waits, the limit is %d", round, n, limit)
			}
		}
		for _, r := range readers {
			r.Close()
		}
		if lent, ahead := k.cfg.Buffers.Lent(), k.cfg.Buffers.Reserved(); lent != 0 || ahead != 0 {
			t.Errorf("after Close %d bytes are lent and %d reserved", lent, ahead)
		}
	})
}

// A Read that ends has asked for a response, which the next Read takes.
func TestReadThatEndsAsksForNoSecondResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			time.Sleep(time.Second)
			return kafkatest.Answer{End: 1 << 40, Set: kafkatest.Batch{Base: offset, Records: []int{0}, Value: "v"}.Bytes()}
		})
		k.cfg.Buffers = &buffer.Pool{}
		k.cfg.Buffers.Limit(1)
		r := newReader(t, k.cfg, 0)
		for next := int64(1); next <= 10; next++ {
			for ended := 0; ; ended++ {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				b := source.Batch{MaxMessages: 1, MaxBytes: 1}
				err := r.Read(ctx, &b)
				cancel()
				if err == nil && b.Next == next && ended > 0 {
					break
				}
				if !errors.Is(err, context.DeadlineExceeded) || ended > 10 {
					t.Fatalf("offset %d: %d ended Reads, next %d, %v", next, ended, b.Next, err)
				}
			}
			time.Sleep(time.Minute)
			if n := k.cfg.Buffers.Lent(); n != 0 {
				t.Fatalf("offset %d: %d bytes are lent while no Read waits", next, n)
			}
		}
	})
}
