package fetch

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

func TestReaderReturnsEveryRecordAsItWasWritten(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				cl := k.Producer(t, kgo.ProducerBatchCompression(codec))
				at := time.UnixMilli(1_700_000_000_123)
				rs := []*kgo.Record{
					{Key: []byte("k"), Value: []byte("v"), Timestamp: at},
					{Key: nil, Value: nil, Timestamp: at},
					{Key: []byte{}, Value: []byte{}, Timestamp: at},
					{Key: []byte("h"), Value: make([]byte, 200_000), Timestamp: at.Add(time.Second), Headers: []kgo.RecordHeader{
						{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}},
					}},
					{Key: []byte("z"), Value: []byte("last"), Timestamp: at},
				}
				if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
					t.Fatal(err)
				}
				got, err := readTo(t, newReader(t, k.cfg, 0), 5)
				if err != nil || len(got) != len(rs) {
					t.Fatalf("got %d messages, %v", len(got), err)
				}
				for i, m := range got {
					w := rs[i]
					if m.Stream != "t" || m.Partition != 0 || m.Offset != int64(i) || !m.Time.Equal(w.Timestamp) {
						t.Errorf("message %d is %s/%d %d at %v", i, m.Stream, m.Partition, m.Offset, m.Time)
					}
					same := func(what string, got, want []byte) {
						if string(got) != string(want) || (got == nil) != (want == nil) {
							t.Errorf("message %d: %s = %.20q (nil: %v), want %.20q (nil: %v)", i, what, got, got == nil, want, want == nil)
						}
					}
					same("key", m.Key, w.Key)
					same("value", m.Value, w.Value)
					if len(m.Headers) != len(w.Headers) {
						t.Fatalf("message %d has %d headers, want %d", i, len(m.Headers), len(w.Headers))
					}
					for j, h := range m.Headers {
						if h.Key != w.Headers[j].Key {
							t.Errorf("message %d: header %d is %q", i, j, h.Key)
						}
						same("header", h.Value, w.Headers[j].Value)
					}
				}
			})
		})
	}
}

func TestReaderWaitsForNewRecordsAndKnowsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		cl := k.Producer(t)
		r := newReader(t, k.cfg, 0)
		if _, known := r.End(); known {
			t.Error("the end is known before the first request")
		}
		defer later(90*time.Second, func() { kafkatest.Produce(t, cl, 10) })()
		b := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
		begun := time.Now()
		if err := r.Read(t.Context(), &b); err != nil || len(b.Messages) != 10 {
			t.Fatalf("%d messages, %v", len(b.Messages), err)
		}
		if d := time.Since(begun); d < 90*time.Second || d > 91*time.Second {
			t.Errorf("the record came after %v", d)
		}
		if end, ok := r.End(); end != 10 || !ok || r.Stalled() {
			t.Errorf("end = %d %v, stalled %v", end, ok, r.Stalled())
		}
	})
}

func TestReaderLosesNothingWhenContextsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 1000)
		k.cfg.MaxBytes = 300
		r := newReader(t, k.cfg, 0)
		cause := errors.New("enough")
		var got []int64
		for i := 0; len(got) < 1000; i++ {
			ctx, cancel := context.WithCancelCause(t.Context())
			if i%3 > 0 {
				if i%3 == 1 {
					cancel(cause)
				} else {
					go cancel(cause)
				}
			}
			b := source.Batch{MaxMessages: 3, MaxBytes: 1 << 20}
			err := r.Read(ctx, &b)
			if err != nil && (!errors.Is(err, cause) || len(b.Messages) > 0) {
				t.Fatalf("%d messages and %v", len(b.Messages), err)
			}
			got = append(got, offsetsOf(b.Messages)...)
			cancel(nil)
		}
		for i, o := range got {
			if o != int64(i) {
				t.Fatalf("message %d has offset %d", i, o)
			}
		}
	})
}

func TestReaderKeepsTheLimitsOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		cl := k.Producer(t)
		for _, size := range []int{10, 10, 5000, 10, 10, 10} {
			if err := cl.ProduceSync(t.Context(), kgo.SliceRecord(make([]byte, size))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		r := newReader(t, k.cfg, 0)
		var sizes []int
		for r.Position() < 6 {
			b := source.Batch{MaxMessages: 2, MaxBytes: 1000}
			if err := r.Read(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, len(b.Messages))
		}
		if want := []int{2, 1, 2, 1}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}

func TestReaderCloseEndsReadAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a goroutine left behind fails the bubble
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.cfg.MaxWait = time.Hour
		var open atomic.Int32
		k.cfg.Cluster.Transport.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := k.Net.DialContext(ctx, network, addr)
			if err == nil {
				open.Add(1)
			}
			return &countedConn{Conn: c, open: &open}, err
		}
		r := NewReader(k.cfg, "t", 0, 0)
		begun := time.Now()
		go func() {
			time.Sleep(time.Minute)
			r.Close()
		}()
		if err := r.Read(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("Read returned %v", err)
		}
		r.Close()
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("closing waited for the broker: %v", d-time.Minute)
		}
		if err := r.Read(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("Read after Close returned %v", err)
		}
		NewReader(k.cfg, "t", 0, 0).Close() // never read
		k.cfg.Cluster.Transport.CloseIdleConnections()
		synctest.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are still in use", n)
		}
	})
}

// countedConn counts the connections that are open.
type countedConn struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func TestReaderTellsAWrongConfiguration(t *testing.T) {
	err := NewReader(Config{MaxBytes: -1, MaxWait: -1}, "t", 0, 0).Read(t.Context(), &source.Batch{})
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
}
