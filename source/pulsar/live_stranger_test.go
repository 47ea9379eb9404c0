package pulsar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
)

// sendAs sends messages with properties, and waits for the broker.
func sendAs(ctx context.Context, p pulsar.Producer, ms ...*pulsar.ProducerMessage) error {
	errs := make(chan error, len(ms))
	for _, m := range ms {
		p.SendAsync(ctx, m, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { errs <- err })
	}
	if err := p.FlushWithCtx(ctx); err != nil {
		return err
	}
	for range ms {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// An encrypted message stops its partition alone, however it was sent, and is read once its key is there.
func TestLiveEncryptedInEveryForm(t *testing.T) {
	l := liveBroker(t)
	k, other := newKeys(t), newKeys(t)
	for name, change := range map[string]func(o *pulsar.ProducerOptions){
		"alone":         func(*pulsar.ProducerOptions) {},
		"alone, LZ4":    func(o *pulsar.ProducerOptions) { o.CompressionType = pulsar.LZ4 },
		"batched":       func(o *pulsar.ProducerOptions) { o.DisableBatching = false },
		"batched, ZSTD": func(o *pulsar.ProducerOptions) { o.DisableBatching, o.CompressionType = false, pulsar.ZSTD },
		"batched by key": func(o *pulsar.ProducerOptions) {
			o.DisableBatching, o.BatcherBuilderType = false, pulsar.KeyBasedBatchBuilder
		},
		"in chunks": func(o *pulsar.ProducerOptions) { o.EnableChunking, o.ChunkMaxMessageSize = true, 2000 },
		"in chunks, zlib": func(o *pulsar.ProducerOptions) {
			o.EnableChunking, o.ChunkMaxMessageSize, o.CompressionType = true, 2000, pulsar.ZLib
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := l.topic(t, 2)
			large := ""
			if strings.Contains(name, "chunks") {
				var b strings.Builder
				for i := range 3000 {
					fmt.Fprint(&b, i*i*7919)
				}
				large = b.String()
			}
			plain := func(n int, values ...string) {
				for _, v := range values {
					if err := send(t.Context(), l.producer(t, fmt.Sprintf("%s-partition-%d", topic, n), nil), keystrand.Message{Key: []byte("k"), Value: []byte(v)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			plain(0, "0")
			plain(1, "0", "1", "2")
			sealed := l.producer(t, topic+"-partition-0", func(o *pulsar.ProducerOptions) {
				o.Encryption = &pulsar.ProducerEncryptionInfo{KeyReader: k, Keys: []string{"orders-key"}}
				change(o)
			})
			if err := send(t.Context(), sealed, keystrand.Message{Key: []byte("k"), Value: []byte("1" + large)}, keystrand.Message{Key: []byte("k"), Value: []byte("2" + large)}, keystrand.Message{Key: []byte("t")}); err != nil {
				t.Fatal(err)
			}
			plain(0, "4")
			for _, reader := range []*keys{nil, other} {
				cfg := l.config(t)
				if reader != nil {
					cfg.KeyReader = reader
				}
				r := l.reader(t, cfg, "s", topic)
				p, q := r.accept(), r.accept()
				if p.ID().Partition != 0 {
					p, q = q, p
				}
				if got := values(read(t, p, 1)); got != "0" {
					t.Errorf("read %q", got)
				}
				nothing(t, p)
				err := (&member{t: t, s: r.s}).troubled("read " + topic + "/0")
				if !errors.Is(err, ErrEncrypted) && !errors.Is(err, ErrUnreadable) {
					t.Errorf("trouble = %v", r.s.Report().Trouble)
				} else {
					t.Logf("trouble = %v", err)
				}
				if got := values(read(t, q, 3)); got != "0 1 2" {
					t.Errorf("read %q of the other partition", got)
				}
				release(t, p)
				release(t, q)
				_ = r.s.Close()
			}
			cfg := l.config(t)
			cfg.KeyReader = k
			r := l.reader(t, cfg, "s", topic)
			p, q := r.accept(), r.accept()
			if p.ID().Partition != 0 {
				p, q = q, p
			}
			got := read(t, p, 5)
			if s := values(got); s != "0 1"+large+" 2"+large+"  4" || got[3].Value != nil || string(got[3].Key) != "t" {
				t.Errorf("read %.100q, key %q", s, got[3].Key)
			}
			for _, m := range got {
				if len(m.Headers) > 0 {
					t.Errorf("headers %v", m.Headers)
				}
			}
			release(t, p)
			release(t, q)
		})
	}
}

func TestLiveTombstonesInEveryForm(t *testing.T) {
	l := liveBroker(t)
	for codec := pulsar.NoCompression; codec <= pulsar.SNAPPY; codec++ {
		for _, batched := range []bool{false, true} {
			t.Run(fmt.Sprintf("codec=%d/batched=%t", codec, batched), func(t *testing.T) {
				t.Parallel()
				topic := l.topic(t, 0)
				p := l.producer(t, topic, func(o *pulsar.ProducerOptions) {
					o.CompressionType, o.DisableBatching, o.BatchingMaxPublishDelay = codec, !batched, time.Hour
				})
				when := time.UnixMilli(1_700_000_000_123)
				forms := []*pulsar.ProducerMessage{
					{Key: "k"},
					{},
					{Key: "k", Properties: map[string]string{"a": "1"}},
					{Properties: map[string]string{"a": ""}},
					{Key: "k", OrderingKey: "o"},
					{Key: "k", EventTime: when},
					{Key: "k", Payload: []byte{}},
					{OrderingKey: "o"},
					{Key: "k", Payload: []byte("end")},
				}
				// each alone, and all together
				for _, m := range forms {
					if err := sendAs(t.Context(), p, m); err != nil {
						t.Fatal(err)
					}
				}
				if err := sendAs(t.Context(), p, forms...); err != nil {
					t.Fatal(err)
				}
				r := l.reader(t, l.config(t), "s", topic)
				q := r.accept()
				got := read(t, q, 2*len(forms))
				for i, m := range got {
					want := forms[i%len(forms)]
					info, _ := InfoOf(&m)
					if string(m.Key) != want.Key || (m.Key == nil) != (want.Key == "") || string(m.Value) != string(want.Payload) || (m.Value == nil) != (len(want.Payload) == 0) || len(m.Headers) != len(want.Properties) ||
						info.OrderingKey != want.OrderingKey || !want.EventTime.IsZero() && !m.Time.Equal(want.EventTime) {
						t.Errorf("message %d: %+v %+v, want %+v", i, m, info, want)
					}
				}
				settle(t, q, offsetAfter(t, q))
				for end := time.Now().Add(20 * time.Second); l.backlogs(t, topic)["s"] > 0; time.Sleep(100 * time.Millisecond) { // real time: a poll of the broker
					if time.Now().After(end) {
						t.Fatalf("backlogs %v", l.backlogs(t, topic))
					}
				}
				release(t, q)
			})
		}
	}
}
