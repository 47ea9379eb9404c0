package fetch

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
)

func TestBuffersShareTheLimitAmongReaders(t *testing.T) {
	const limit = 3 << 20
	for _, c := range []struct {
		readers, lent int64
		most, want    int
	}{
		{1, 0, 4 << 20, 1 << 20},
		{1, 0, 1000, 1000},
		{4, 0, 4 << 20, 256 << 10},
		{4, limit - 100<<10, 4 << 20, 100 << 10}, // the others hold the rest
		{4, 2 * limit, 4 << 20, leastRequest},
		{1000, 0, 4 << 20, leastRequest},
		{0, 0, 4 << 20, 1 << 20},
	} {
		var b Buffers
		b.Limit(limit)
		b.readers.Store(c.readers)
		b.lent.Store(c.lent)
		if got := b.request(c.most); got != c.want {
			t.Errorf("%d readers, %d bytes lent: asks for %d bytes, want %d", c.readers, c.lent, got, c.want)
		}
	}
	var b Buffers
	if got := b.request(4 << 20); got != 4<<20 {
		t.Errorf("asks for %d bytes without a limit", got)
	}
}

func TestBuffersCountWhatIsLent(t *testing.T) {
	var b Buffers
	small, large := b.frame(10), b.frame(100_000)
	if got, want := b.Lent(), int64(cap(small)+cap(large)); got != want || len(large) != 100_000 {
		t.Errorf("%d bytes are lent, want %d", got, want)
	}
	b.frameBack(large)
	if again := b.frame(10_000); cap(again) > 40_000 {
		t.Errorf("a frame of 10,000 bytes has %d", cap(again))
	} else {
		b.frameBack(again)
	}
	b.frameBack(small)
	b.frameBack(nil)
	if got := b.Lent(); got != 0 {
		t.Errorf("%d bytes are lent after all came back", got)
	}
}

// A response may wait for Read, be half read, or be compressed, and a request may be under way when a reader is closed.
func TestClosedReaderHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
			k := newBroker(t, kfake.SeedTopics(1, "t"))
			cl := k.client(t, kgo.ProducerBatchCompression(codec))
			for range 3 {
				produce(t, cl, 1000)
			}
			k.cfg.MaxBytes, k.cfg.Buffers = 1, &Buffers{} // one batch a response
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
			if n, readers := k.cfg.Buffers.Lent(), k.cfg.Buffers.readers.Load(); n != 0 || readers != 0 {
				t.Errorf("after Close %d bytes are lent to %d readers", n, readers)
			}
			k.Close()
		}
	})
}

func TestClosedReaderHoldsNothingAfterAReadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		produce(t, k.client(t), 1000)
		k.cfg.Buffers = &Buffers{}
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
		cl := k.client(t, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		bomb := &kgo.Record{Value: make([]byte, 900_000)} // some hundred bytes on the wire
		if err := cl.ProduceSync(t.Context(), bomb).FirstErr(); err != nil {
			t.Fatal(err)
		}
		k.cfg.Buffers = &Buffers{}
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

// A response that arrives just when its request is given up is given back.
func TestAbortedExchangeHoldsNothing(t *testing.T) {
	var b Buffers
	late := &exchange{buffers: &b}
	late.response = late.frame(5000)
	if !late.end(nil) {
		t.Error("the response does not count")
	}
	late.abort()
	early := &exchange{buffers: &b}
	early.abort()
	early.response = early.frame(5000)
	if early.end(nil) {
		t.Error("the response counts after abort")
	}
	if n := b.Lent(); n != 0 {
		t.Errorf("%d bytes are lent", n)
	}
}

func TestReadersAskForTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var largest, requests atomic.Int32
		k.serve(func(offset int64, maxBytes int32) answer {
			largest.Store(max(largest.Load(), maxBytes))
			requests.Add(1)
			b := raw{base: offset, records: []int{0}, value: string(make([]byte, maxBytes/2))}
			return answer{end: 1 << 40, set: append(b.bytes(), raw{base: offset + 1, records: []int{0}, value: string(make([]byte, maxBytes/3))}.bytes()...)}
		})
		k.cfg.Buffers = &Buffers{}
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
		k.serve(func(offset int64, _ int32) answer {
			return answer{end: 1 << 40, set: raw{base: offset, records: []int{0}, value: large}.bytes()}
		})
		k.cfg.Buffers = &Buffers{}
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
		if lent, ahead := k.cfg.Buffers.Lent(), k.cfg.Buffers.ahead.Load(); lent != 0 || ahead != 0 {
			t.Errorf("after Close %d bytes are lent and %d reserved", lent, ahead)
		}
	})
}

// A Read that ends has asked for a response, which the next Read takes.
func TestReadThatEndsAsksForNoSecondResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.serve(func(offset int64, _ int32) answer {
			time.Sleep(time.Second)
			return answer{end: 1 << 40, set: raw{base: offset, records: []int{0}, value: "v"}.bytes()}
		})
		k.cfg.Buffers = &Buffers{}
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
