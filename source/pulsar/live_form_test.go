package pulsar

import (
	"fmt"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	sinkpulsar "github.com/keystrand/keystrand/sink/pulsar"
)

// What the sink writes and the client library hides, the source reads.
func TestLiveFormsOfKeysAndValuesSurviveSinkAndSource(t *testing.T) {
	l := liveBroker(t)
	for codec := pulsar.NoCompression; codec <= pulsar.SNAPPY; codec++ {
		for _, mixed := range []bool{false, true} {
			t.Run(fmt.Sprintf("codec=%d/mixed=%t", codec, mixed), func(t *testing.T) {
				topic := l.topic(t, 0)
				message := func(key, value []byte, kind pulsarwire.KeyKind, ordering string) keystrand.Message {
					return keystrand.Message{Key: key, Value: value, Native: &pulsarwire.Native{Kind: kind, Ordering: ordering}}
				}
				a, v := []byte("a"), []byte("v")
				want := []keystrand.Message{
					message(a, v, pulsarwire.KeyText, ""),
					message(a, v, pulsarwire.KeyBytes, ""),
					message([]byte{0xff, 0, 1}, v, pulsarwire.KeyBytes, ""),
					message([]byte("YWJj"), v, pulsarwire.KeyText, ""),
					message([]byte{}, v, pulsarwire.KeyText, ""),
					message([]byte{}, v, pulsarwire.KeyBytes, ""),
					message(nil, v, pulsarwire.KeyNone, ""),
					message(nil, v, pulsarwire.KeyNull, ""),
					message(a, v, pulsarwire.KeyText, "o-1"),
					message(a, nil, pulsarwire.KeyBytes, ""),
				}
				s, err := sinkpulsar.New(l.url, topic, sinkpulsar.Config{Compression: codec, MixKeys: mixed})
				if err != nil {
					t.Fatal(err)
				}
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range want { // one by one, so that they are in this order
					if err := w.Write(t.Context(), []keystrand.Message{m}); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Write(t.Context(), want); err != nil { // and together
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				p := l.reader(t, l.config(t), "s", topic).accept()
				got := read(t, p, 2*len(want))
				for i, m := range got[:len(want)] {
					info, _ := InfoOf(&m)
					wanted, _ := InfoOf(&want[i])
					if string(m.Key) != string(want[i].Key) || (m.Key == nil) != (want[i].Key == nil) || (m.Value == nil) != (want[i].Value == nil) {
						t.Errorf("message %d: key %#v, value %#v", i, m.Key, m.Value)
					}
					if info.KeyKind != wanted.KeyKind || info.OrderingKey != wanted.OrderingKey || len(m.Headers) > 0 {
						t.Errorf("message %d: %+v, headers %v", i, info, m.Headers)
					}
				}
				count := func(ms []keystrand.Message) map[string]int {
					all := make(map[string]int)
					for _, m := range ms {
						i, _ := InfoOf(&m)
						all[fmt.Sprintf("%q %t %q %v %q", m.Key, m.Key == nil, m.Value, i.KeyKind, i.OrderingKey)]++
					}
					return all
				}
				if fmt.Sprint(count(got[len(want):])) != fmt.Sprint(count(want)) {
					t.Errorf("together: read %v, want %v", count(got[len(want):]), count(want))
				}
				_ = p.Release(t.Context())
			})
		}
	}
}

// The client library takes a message without value and properties, outside a batch, for damaged, and acknowledges it.
func TestLiveTombstoneAloneIsDelivered(t *testing.T) {
	l := liveBroker(t)
	for codec := pulsar.NoCompression; codec <= pulsar.SNAPPY; codec++ {
		topic := l.topic(t, 0)
		producer := l.producer(t, topic, func(o *pulsar.ProducerOptions) { o.CompressionType = codec })
		if err := send(t.Context(), producer, keystrand.Message{Key: []byte("k")}, keystrand.Message{Key: []byte("k"), Value: []byte("after")}); err != nil {
			t.Fatal(err)
		}
		p := l.reader(t, l.config(t), "s", topic).accept()
		got := read(t, p, 2)
		if got[0].Value != nil || string(got[0].Key) != "k" || len(got[0].Headers) > 0 || string(got[1].Value) != "after" {
			t.Errorf("codec %d: read %+v", codec, got)
		}
		_ = p.Release(t.Context())
	}
}
