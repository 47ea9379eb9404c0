package pulsar

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
)

// around bounds the bytes of an entry that sizeOf does not count: the command, the fixed fields of the metadata, the name of
// the producer, checksums.
const around = 512

// fillMessage sets out to the library's form of m. It returns an error if m can never be written.
func fillMessage(out *pulsar.ProducerMessage, m *keystrand.Message, cfg *Config) error {
	*out = pulsar.ProducerMessage{Payload: m.Value}
	if m.Value == nil && m.Native != nil {
		v, err := m.Native.AppendValue(nil)
		if err != nil {
			return fmt.Errorf("encode the native value: %w", err)
		}
		out.Payload = v
	}
	var far int64
	if !m.Time.IsZero() {
		switch s := m.Time.Unix(); {
		case s < 0: // in silence the library would write another time
			return fmt.Errorf("time %v is before 1970: the client library cannot write it as an event time", m.Time)
		case m.Time.After(time.UnixMilli(math.MaxInt64)):
			return fmt.Errorf("time %v is out of range for an event time", m.Time)
		case s < math.MaxInt64/1_000_000_000:
			out.EventTime = m.Time.Truncate(time.Millisecond)
		default: // the library would write another time: setForm sets it
			far = m.Time.UnixMilli()
		}
	}
	if len(m.Headers) > 0 {
		out.Properties = make(map[string]string, len(m.Headers))
		for _, h := range m.Headers {
			if v, twice := out.Properties[h.Key]; twice && v != string(h.Value) && !cfg.LastHeaderWins {
				return fmt.Errorf("header %q has two values, but Pulsar keeps one: "+
					"remove one in the handler, or set Config.LastHeaderWins", h.Key)
			}
			out.Properties[h.Key] = string(h.Value)
		}
	}
	setForm(out, m, far)
	if n := sizeOf(out) + around; n > cfg.MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes with key, headers and overhead exceed Config.MaxMessageBytes (%d)",
			errTooLarge, n, cfg.MaxMessageBytes)
	}
	return nil
}

// sizeOf returns an upper bound of the bytes that a message adds to its entry. Key and properties count twice, because the
// library also copies those of the first message of a batch to the entry. A broker disconnects when an entry is too large.
func sizeOf(m *pulsar.ProducerMessage) int {
	const field = 12 // tags and lengths
	n := len(m.Payload) + 4*field + 2*(len(m.Key)+len(m.OrderingKey)+field)
	for k, v := range m.Properties {
		n += 2 * (len(k) + len(v) + 3*field)
	}
	return n
}

// errTooLarge is the cause when a message exceeds MaxMessageBytes.
var errTooLarge = errors.New("message too large")
