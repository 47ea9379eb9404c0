package pulsar

import (
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// wireMessage is a message as the library delivers it, with notes in the name of its producer.
type wireMessage struct {
	pulsar.Message
	key, ordering, producer string
	payload                 []byte
	properties              map[string]string
	event                   time.Time
	batch                   int32
}

func (m *wireMessage) ID() pulsar.MessageID {
	return &testID{ledger: 5, entry: 6, batch: m.batch, size: 2}
}
func (m *wireMessage) Key() string                   { return m.key }
func (m *wireMessage) OrderingKey() string           { return m.ordering }
func (m *wireMessage) ProducerName() string          { return m.producer }
func (m *wireMessage) Payload() []byte               { return m.payload }
func (m *wireMessage) Properties() map[string]string { return m.properties }
func (m *wireMessage) EventTime() time.Time          { return m.event }
func (m *wireMessage) PublishTime() time.Time {
	return time.Unix(1_700_000_000, 0).In(time.FixedZone("", 7200))
}
func (m *wireMessage) SchemaVersion() []byte   { return []byte{0, 1} }
func (m *wireMessage) RedeliveryCount() uint32 { return 3 }

func TestKeyIsItsBytesHoweverItWasSent(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		kind pulsarwire.KeyKind
		key  []byte
		want KeyKind
	}{
		"text":                    {"user-1", pulsarwire.KeyText, []byte("user-1"), KeyText},
		"bytes":                   {"dXNlci0x", pulsarwire.KeyBytes, []byte("user-1"), KeyBytes},
		"bytes that are no UTF-8": {"/wAB", pulsarwire.KeyBytes, []byte{0xff, 0, 1}, KeyBytes},
		"bytes without padding":   {"YQ", pulsarwire.KeyBytes, []byte("a"), KeyBytes},
		"bytes with padding":      {"YQ==", pulsarwire.KeyBytes, []byte("a"), KeyBytes},
		"text that looks like it": {"dXNlci0x", pulsarwire.KeyText, []byte("dXNlci0x"), KeyText},
		"flag on other text":      {"user-1", pulsarwire.KeyBytes, []byte("user-1"), KeyText},
		"flag, half a quantum":    {"YQ=", pulsarwire.KeyBytes, []byte("YQ="), KeyText},
		"flag, end of line":       {"YQ==\n", pulsarwire.KeyBytes, []byte("YQ==\n"), KeyText},
		"flag, alphabet of URLs":  {"_wAB", pulsarwire.KeyBytes, []byte("_wAB"), KeyText},
		"empty text":              {"", pulsarwire.KeyText, []byte{}, KeyText},
		"empty bytes":             {"", pulsarwire.KeyBytes, []byte{}, KeyBytes},
		"none":                    {"", pulsarwire.KeyNone, nil, KeyNone},
		"null":                    {"", pulsarwire.KeyNull, nil, KeyNull},
	} {
		note := pulsarwire.Note{Kind: c.kind, Sequence: 76}
		var conv converter
		for range 2 { // the second time it is not the first of a chunk
			m := conv.message(&wireMessage{key: c.text, producer: note.Name("p"), batch: 1}, 0)
			if string(m.Key) != string(c.key) || (m.Key == nil) != (c.key == nil) {
				t.Errorf("%s: key %#v, want %#v", name, m.Key, c.key)
			}
			if i, ok := InfoOf(&m); !ok || i.KeyKind != c.want || i.SequenceID != 77 || i.Producer != "p" {
				t.Errorf("%s: %+v, want kind %v", name, i, c.want)
			}
			if lane, _, ok := must(ByOrderingKey(&m)).Lanes(); ok != (c.key != nil) || lane != string(c.key) {
				t.Errorf("%s: lane %q, %t", name, lane, ok)
			}
		}
	}
}

func must(k keystrand.Key, err error) keystrand.Key {
	if err != nil {
		panic(err)
	}
	return k
}

func TestInfoOfAMessage(t *testing.T) {
	event := time.Date(2020, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	var conv converter
	w := &wireMessage{
		key: "a", ordering: "o-1", producer: pulsarwire.Note{Kind: pulsarwire.KeyText}.Name("p"), payload: []byte("v"), event: event, batch: 1,
		properties: map[string]string{pulsarwire.PropertyName: "", "h": "1"},
	}
	m := conv.message(w, 9)
	i, ok := InfoOf(m.Clone())
	if !ok || i.ID != (MessageID{5, 6, 1}) || i.OrderingKey != "o-1" || string(i.SchemaVersion) != "\x00\x01" || i.RedeliveryCount != 3 || i.SequenceID != 1 {
		t.Errorf("%+v, %t", i, ok)
	}
	if !m.Time.Equal(event) || m.Time.Location() != time.UTC || i.EventTime != m.Time || i.PublishTime.Location() != time.UTC {
		t.Errorf("time %v, %+v: want UTC", m.Time, i)
	}
	if len(m.Headers) != 1 || m.Headers[0].Key != "h" {
		t.Errorf("headers %v", m.Headers)
	}
	if m.Size() != len("a")+len("v")+len("h1")+len("o-1") {
		t.Errorf("size %d", m.Size())
	}
	if lane, _, _ := must(ByOrderingKey(&m)).Lanes(); lane != "o-1" {
		t.Errorf("lane %q", lane)
	}
	if _, ok := InfoOf(&keystrand.Message{}); ok {
		t.Error("a message of another source has an Info")
	}
	far := new(converter).message(&wireMessage{producer: pulsarwire.Note{Event: 253402300799000}.Name("p")}, 9)
	if far.Time != time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) {
		t.Errorf("time %v, want year 9999", far.Time)
	}
	none := new(converter).message(&wireMessage{producer: "p", event: time.Unix(0, 0)}, 9)
	if i, _ := InfoOf(&none); none.Time != i.PublishTime || !i.EventTime.IsZero() || i.SequenceID != -1 {
		t.Errorf("without event time and notes: %v, %+v", none.Time, i)
	}
	null := new(converter).message(&wireMessage{producer: pulsarwire.Note{Empty: true}.Name("p"), payload: []byte("rest of a seal")}, 9)
	if null.Value != nil {
		t.Errorf("value %q, want a tombstone", null.Value)
	}
}

func TestOneTopicHasOneName(t *testing.T) {
	const url = "pulsar://fake:6650"
	full := stream("orders-partition-1")
	ids := map[int32]MessageID{0: {Ledger: 7}}
	for _, name := range []string{"orders-partition-1", "public/default/orders-partition-1", full} {
		for _, key := range []string{"orders-partition-1", "public/default/orders-partition-1", full} {
			s, err := New(url, "billing", []string{name}, Config{Alone: true, Start: After(map[string]map[int32]MessageID{key: ids})})
			if err != nil {
				t.Fatal(err)
			}
			if len(s.topics) != 1 || s.topics[0] != full || !s.cfg.Start.names(full, 0) {
				t.Errorf("%q, After %q: topics %q, %v", name, key, s.topics, s.cfg.Start)
			}
		}
		if _, err := New(url, "billing", []string{name, full}, Config{}); err == nil {
			t.Errorf("%q is accepted twice", name)
		}
	}
	twice := After(map[string]map[int32]MessageID{"orders": ids, stream("orders"): ids})
	if _, err := New(url, "billing", []string{"orders"}, Config{Alone: true, Start: twice}); err == nil {
		t.Error("After names a topic twice")
	}
}
