package pulsar

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
)

// around bounds the bytes of a message's entry beside what is counted in sizeOf: the command, the metadata's fixed fields,
// the producer's name, checksums.
const around = 512

// fillMessage makes out what the library sends for m. The error says why m can never be written.
func fillMessage(out *pulsar.ProducerMessage, m *keystrand.Message, cfg *Config) error {
	*out = pulsar.ProducerMessage{Key: string(m.Key), Payload: m.Value}
	if m.Value == nil && m.Native != nil {
		v, err := m.Native.AppendValue(nil)
		if err != nil {
			return fmt.Errorf("bytes of the native value: %w", err)
		}
		out.Payload = v
	}
	if !m.Time.IsZero() {
		if ms := m.Time.UnixMilli(); ms > math.MaxInt64/1_000_000 || ms < math.MinInt64/1_000_000 {
			return fmt.Errorf("the time %v is out of an event time's bounds", m.Time)
		}
		out.EventTime = m.Time.Truncate(time.Millisecond)
	}
	if len(m.Headers) > 0 {
		out.Properties = make(map[string]string, len(m.Headers))
		for _, h := range m.Headers {
			if v, twice := out.Properties[h.Key]; twice && v != string(h.Value) && !cfg.LastHeaderWins {
				return fmt.Errorf("the header %q comes twice with different values, and a message's properties are a map: "+
					"let the handler drop one, or set LastHeaderWins", h.Key)
			}
			out.Properties[h.Key] = string(h.Value)
		}
	}
	if n := sizeOf(out) + around; n > cfg.MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes with key, headers and what is around them are more than MaxMessageBytes, %d",
			errTooLarge, n, cfg.MaxMessageBytes)
	}
	return nil
}

// sizeOf bounds what a message adds to the entry that it is in. Key and properties count twice: the first message of a
// batch gives its own to the entry too, beyond which the broker would hang up on every connection that brings it.
func sizeOf(m *pulsar.ProducerMessage) int {
	const field = 12 // tags and lengths
	n := len(m.Payload) + 4*field + 2*(len(m.Key)+field)
	for k, v := range m.Properties {
		n += 2 * (len(k) + len(v) + 3*field)
	}
	return n
}

// errTooLarge is the cause of a message refused because of MaxMessageBytes.
var errTooLarge = errors.New("message too large")
