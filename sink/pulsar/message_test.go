package pulsar

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/sink"
)

type native struct{ err error }

func (n native) AppendValue(dst []byte) ([]byte, error) { return append(dst, "native"...), n.err }
func (native) Size() int                                { return len("native") }

func TestMessageIsStoredWithKeyHeadersAndEventTime(t *testing.T) {
	at := time.Date(1970, 7, 20, 20, 17, 40, 123_456_789, time.UTC)
	cfg := Config{}.withDefaults()
	var out pulsar.ProducerMessage
	m := keystrand.Message{
		Key: []byte{0xff}, Native: native{}, Time: at,
		Headers: []keystrand.Header{{Key: "a", Value: []byte{0, 0xfe}}, {Key: "b"}, {Key: "a", Value: []byte{0, 0xfe}}},
	}
	if err := fillMessage(&out, &m, &cfg); err != nil {
		t.Fatal(err)
	}
	form := out.Properties[pulsarwire.PropertyName]
	delete(out.Properties, pulsarwire.PropertyName)
	if out.Key != "/w==" || form != (pulsarwire.Form{Base64: true}).Property() {
		t.Errorf("a key that is not UTF-8 is stored as %q, form %q", out.Key, form)
	}
	if string(out.Payload) != "native" || out.Properties["a"] != "\x00\xfe" || out.Properties["b"] != "" || len(out.Properties) != 2 {
		t.Errorf("%+v", out)
	}
	if !out.EventTime.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("event time %v", out.EventTime)
	}
}

func TestMessageThatPulsarCannotStoreIsRefused(t *testing.T) {
	cfg := Config{MaxMessageBytes: 10_000}.withDefaults()
	twice := []keystrand.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}
	for name, m := range map[string]keystrand.Message{
		"header twice":       {Headers: twice},
		"far future":         {Time: time.UnixMilli(math.MaxInt64).Add(time.Millisecond)},
		"far past":           {Time: time.UnixMilli(math.MinInt64)},
		"before 1970":        {Time: time.Unix(0, -1)},
		"value":              {Value: make([]byte, 10_000)},
		"key, it counts two": {Key: make([]byte, 5_000)},
		"headers, they too":  {Headers: []keystrand.Header{{Key: "h", Value: make([]byte, 5_000)}}},
		"native":             {Native: native{err: errors.New("broken")}},
	} {
		var out pulsar.ProducerMessage
		if err := fillMessage(&out, &m, &cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	cfg.LastHeaderWins = true
	var out pulsar.ProducerMessage
	if err := fillMessage(&out, &keystrand.Message{Headers: twice}, &cfg); err != nil || out.Properties["a"] != "2" {
		t.Errorf("%v %v", out.Properties, err)
	}
}

// Two messages of one key can never be written. Only the first fails permanently. Otherwise the failure policy could settle the
// second before the first.
func TestInvalidMessageBehindAnotherOfItsKeyIsOnlyBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		w := f.writer(t, "out", Config{})
		ms := keyed("a=1", "a=2", "b=1")
		for i := range 2 {
			ms[i].Headers = []keystrand.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}
		}
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok {
			t.Fatal("Write reports all messages as durable")
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[0]); o != keystrand.OutcomePermanent {
			t.Errorf("first: %v, want a permanent refusal", p.Errs[0])
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[1]); o == keystrand.OutcomePermanent || !errors.Is(p.Errs[1], sink.ErrBehind) {
			t.Errorf("second: %v, want ErrBehind", p.Errs[1])
		}
		if p.Errs[2] != nil {
			t.Errorf("other key: %v", p.Errs[2])
		}
	})
}
