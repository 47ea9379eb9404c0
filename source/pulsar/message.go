package pulsar

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
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
	ledger, entry int64 // of the last message
	pinned        int   // least size of its batch
}

func (c *converter) message(m pulsar.Message, offset int64) keystrand.Message {
	out := keystrand.Message{
		Value:     c.value(m),
		Headers:   headers(m.Properties()),
		Time:      m.EventTime().UTC(),
		Stream:    c.stream,
		Partition: c.number,
		Offset:    offset,
	}
	if key := m.Key(); key != "" {
		out.Key = keep(c, key)
	}
	if out.Time.IsZero() || out.Time.UnixMilli() == 0 {
		out.Time = m.PublishTime().UTC()
	}
	return out
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
		all = append(all, keystrand.Header{Key: k, Value: []byte(v)})
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
