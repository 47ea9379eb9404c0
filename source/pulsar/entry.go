package pulsar

import (
	"math/bits"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
)

// entry is what of one entry of the log was handed out: a message alone, or messages of a batch. The offsets of a batch
// are dense: that of the message with index i is base + i, both as the broker numbers them and packed.
type entry struct {
	ledger, entry int64
	base          int64 // offset of the message with index 0
	size          int32 // messages in it
	single        bool  // not a batch
	chunked       bool  // one message in several entries, of which this is the last
	closed        bool  // nothing more of it will come: its last message has come, or one of a later entry
	acked         bool  // confirmed as a whole
	count         int32 // messages handed out
	id            pulsar.MessageID
	out           []uint64 // of a batch alone: bit i is set when the message with index i was handed out
}

// settledness is how much of what was handed out of an entry is settled.
type settledness uint8

const (
	none settledness = iota
	some
	all
)

func newEntry(at position, id pulsar.MessageID, offset int64) entry {
	e := entry{
		ledger: at.ledger, entry: at.entry, base: offset - int64(at.batch), size: max(id.BatchSize(), at.batch+1),
		single: id.BatchSize() <= 1, chunked: id.BatchIdx() < 0, id: id,
	}
	if !e.single {
		e.out = make([]uint64, (e.size+63)/64)
	}
	return e
}

// add notes that the message with index i is handed out.
func (e *entry) add(i int32, id pulsar.MessageID) {
	e.count++
	e.id = id
	if e.single {
		e.closed = true
		return
	}
	e.out[i/64] |= 1 << (i % 64)
	e.closed = i == e.size-1
}

// has tells whether the message with index i was handed out.
func (e *entry) has(i int32) bool {
	return e.single || i < e.size && e.out[i/64]&(1<<(i%64)) != 0
}

// whole returns an id that acknowledges all of the entry. It is made anew, without the library's tracker: that one does
// not know what an earlier owner has acknowledged of the batch, and would wait for it. Of a message in chunks it is the
// very id that came with it, which knows them.
func (e *entry) whole() pulsar.MessageID {
	if e.chunked {
		return e.id
	}
	return pulsar.NewMessageID(e.ledger, e.entry, -1, e.id.PartitionIdx())
}

// complete reports whether all messages of the entry were handed out. A batch lacks some where another program has
// acknowledged single messages of it.
func (e *entry) complete() bool { return e.single || e.count == e.size }

// adjoins tells whether next is the entry behind it, with nothing between.
func (e *entry) adjoins(next *entry) bool {
	return e.ledger == next.ledger && e.entry+1 == next.entry && !next.chunked
}

// settled tells how much of it is settled by p, and how many messages. r is the first range of p.Ahead that ends above
// e's offsets or within them, and is advanced.
func (e *entry) settled(p *commit.Progress, r *int) (settledness, int32) {
	n := int32(0)
	if e.single {
		if below(p, r, e.base) {
			n = 1
		}
	} else {
		for w, word := range e.out {
			for ; word != 0; word &= word - 1 {
				if below(p, r, e.base+int64(w*64+bits.TrailingZeros64(word))) {
					n++
				}
			}
		}
	}
	switch n {
	case 0:
		return none, 0
	case e.count:
		return all, n
	}
	return some, n
}

// below tells whether p settles an offset; calls come with ascending ones.
func below(p *commit.Progress, r *int, offset int64) bool {
	if offset < p.Frontier {
		return true
	}
	for *r < len(p.Ahead) && p.Ahead[*r].To <= offset {
		*r++
	}
	return *r < len(p.Ahead) && p.Ahead[*r].From <= offset
}
