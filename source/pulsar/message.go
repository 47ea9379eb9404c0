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

	chunk   []byte
	entries []pulsarwire.Entry  // not used yet
	natives []pulsarwire.Native // not used yet
	entry   *pulsarwire.Entry   // of the last message; nil at first
	notes   pulsarwire.Notes    // on that entry
	noted   bool                // they are there
	pinned  int                 // least size of its batch
}

func (c *converter) message(m pulsar.Message, offset int64) keystrand.Message {
	at := ack.PositionOf(m.ID())
	if c.entry == nil || at.Ledger != c.entry.Ledger || at.Entry != c.entry.Entry {
		c.begin(m, at)
	}
	text := m.Key()
	note, noted := c.notes.At(int(at.Batch), text)
	noted = noted && c.noted
	n := fresh(&c.natives, natives)
	n.Entry, n.Batch, n.Kind, n.Ordering = c.entry, at.Batch, note.Kind, m.OrderingKey()
	n.Sequence, n.Event = note.Sequence, eventOf(m, note)
	if !noted {
		n.Sequence = -1
	}
	out := keystrand.Message{
		Key:       c.key(text, n),
		Headers:   headers(m.Properties()),
		Time:      time.UnixMilli(cmp.Or(n.Event, c.entry.Published)).UTC(),
		Stream:    c.stream,
		Partition: c.number,
		Offset:    offset,
		Native:    n,
	}
	if !note.Empty {
		out.Value = c.value(m)
	}
	return out
}

// begin starts the entry of a message.
func (c *converter) begin(m pulsar.Message, at ack.Position) {
	c.notes, c.noted = pulsarwire.NotesOf(m.ProducerName())
	e := fresh(&c.entries, entries)
	e.Ledger, e.Entry, e.Published = at.Ledger, at.Entry, m.PublishTime().UnixMilli()
	e.Producer, e.Schema, e.Redelivered = c.notes.Producer, m.SchemaVersion(), m.RedeliveryCount()
	c.entry, c.pinned = e, 0
}

// Natives and Entries are allocated together, 512 bytes at most: above, the allocator adds a header. A waiting message pins
// its neighbours' ones.
const (
	natives = 10
	entries = 7
)

// fresh returns the next of those that are allocated together.
func fresh[T any](left *[]T, together int) *T {
	if len(*left) == 0 {
		*left = make([]T, together)
	}
	next := &(*left)[0]
	*left = (*left)[1:]
	return next
}

// eventOf returns the event time of a message in milliseconds, 0 if it has none.
func eventOf(m pulsar.Message, note pulsarwire.Note) int64 {
	if note.Event != 0 {
		return note.Event
	}
	if t := m.EventTime(); !t.IsZero() {
		return t.UnixMilli()
	}
	return 0
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
	b := m.Payload()
	if len(b) == 0 {
		return nil
	}
	if m.ID().BatchSize() > 1 {
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
