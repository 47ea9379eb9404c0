package pulsar

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

const (
	chunkSize  = 16 << 10 // small payloads and keys are copied into chunks of this size
	pinnedSize = 64 << 10 // a waiting message may pin at most this much memory beside its own
)

// converter converts messages of the library. The payloads of a batch are slices of the entire batch; from a large batch the
// converter copies them. The goroutine in Fetch uses it.
type converter struct {
	stream string
	number int32

	chunk         []byte
	natives       []pulsarwire.Native // not used yet
	ledger, entry int64               // of the last message
	pinned        int                 // least size of its batch
}

func (c *converter) message(m pulsar.Message, offset int64) keystrand.Message {
	at := ack.PositionOf(m.ID())
	n := c.native()
	note, producer, noted := pulsarwire.Read(m.ProducerName(), int(at.Batch))
	*n = pulsarwire.Native{
		Ledger: at.Ledger, Entry: at.Entry, Batch: at.Batch,
		Kind: note.Kind, Sequence: note.Sequence,
		Redelivered: m.RedeliveryCount(), Producer: producer, Ordering: m.OrderingKey(), Schema: m.SchemaVersion(),
		Published: m.PublishTime().UTC(), Event: eventOf(m, note),
	}
	out := keystrand.Message{
		Key:       c.key(m.Key(), n),
		Headers:   headers(m.Properties()),
		Time:      n.Event,
		Stream:    c.stream,
		Partition: c.number,
		Offset:    offset,
		Native:    n,
	}
	if !note.Empty {
		out.Value = c.value(m)
	}
	if out.Time.IsZero() {
		out.Time = n.Published
	}
	if !noted {
		n.Sequence = -1
		if out.Key != nil {
			n.Kind = pulsarwire.KeyText
		}
	}
	return out
}

// natives is how many Natives are allocated together. A waiting message pins those of its neighbours.
const natives = 16

func (c *converter) native() *pulsarwire.Native {
	if len(c.natives) == 0 {
		c.natives = make([]pulsarwire.Native, natives)
	}
	n := &c.natives[0]
	c.natives = c.natives[1:]
	return n
}

// eventOf returns the event time of a message, or the zero time if it has none.
func eventOf(m pulsar.Message, note pulsarwire.Note) time.Time {
	if note.Event != 0 {
		return time.UnixMilli(note.Event).UTC()
	}
	if t := m.EventTime(); !t.IsZero() && t.UnixMilli() != 0 {
		return t.UTC()
	}
	return time.Time{}
}

// key returns the bytes of a key: nil if there is none. A key that was sent as bytes, but is not base64, is text.
func (c *converter) key(text string, n *pulsarwire.Native) []byte {
	if n.Kind == pulsarwire.KeyBytes {
		if key, ok := c.decode(text); ok {
			return key
		}
		n.Kind = pulsarwire.KeyText
	}
	switch {
	case text != "":
		return keep(c, text)
	case n.Kind == pulsarwire.KeyText:
		return []byte{}
	}
	return nil
}

// decode decodes base64 as the Java client does, with or without padding.
func (c *converter) decode(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // which Go ignores
		return nil, false
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding
	}
	if text == "" {
		return []byte{}, true
	}
	key := keep(c, text)
	size, err := encoding.Decode(key, key)
	return key[:size:size], err == nil
}

// value returns the payload, copied if it would pin a large batch. An empty payload is a nil value: the library does not
// distinguish them, and for compaction both are tombstones.
func (c *converter) value(m pulsar.Message) []byte {
	b, id := m.Payload(), m.ID()
	if len(b) == 0 {
		return nil
	}
	if id.BatchSize() > 1 {
		if id.LedgerID() != c.ledger || id.EntryID() != c.entry {
			c.ledger, c.entry, c.pinned = id.LedgerID(), id.EntryID(), 0
		}
		c.pinned = max(c.pinned, cap(b))
		if c.pinned > pinnedSize {
			return keep(c, b)
		}
	}
	return slices.Clip(b)
}

// keep returns a copy of b that pins at most a chunk.
func keep[B ~string | ~[]byte](c *converter, b B) []byte {
	n := len(b)
	if n > chunkSize/4 {
		return []byte(string(b))
	}
	if cap(c.chunk)-len(c.chunk) < n {
		c.chunk = make([]byte, 0, chunkSize)
	}
	from := len(c.chunk)
	c.chunk = append(c.chunk, b...)
	return c.chunk[from:len(c.chunk):len(c.chunk)]
}

// headers returns properties sorted by name: Pulsar keeps no order, and two reads must not differ.
func headers(properties map[string]string) []keystrand.Header {
	if len(properties) == 0 {
		return nil
	}
	all := make([]keystrand.Header, 0, len(properties))
	for k, v := range properties {
		if pulsarwire.Marked(k) {
			continue
		}
		all = append(all, keystrand.Header{Key: k, Value: []byte(v)})
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b keystrand.Header) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// Bits of a packed offset. A ledger id counts all ledgers of a cluster, an entry id those of one ledger (a broker starts a
// new one after 50,000 by default), a batch index the messages of one entry (1,000 in most clients).
const (
	ledgerBits = 27
	entryBits  = 24
	batchBits  = 12
)

// pack returns the offset of a position. Offsets ascend with positions and are never reused, since no ledger id is.
func pack(p ack.Position) (int64, error) {
	if p.Ledger < 0 || p.Ledger >= 1<<ledgerBits || p.Entry < 0 || p.Entry >= 1<<entryBits || p.Batch >= 1<<batchBits {
		return 0, fmt.Errorf("message id %v does not fit into an offset of %d bits of ledger, %d of entry, %d of batch: "+
			"let the brokers number the messages (brokerEntryMetadataInterceptors with AppendIndexMetadataInterceptor, "+
			"exposingBrokerEntryMetadataToClientEnabled) and set Config.Offsets to OffsetsIndex", p, ledgerBits, entryBits, batchBits)
	}
	return p.Ledger<<(entryBits+batchBits) | p.Entry<<batchBits | int64(p.Batch), nil
}
