package ack

import (
	"cmp"
	"fmt"
	"math/bits"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
)

// Position is the place of a message in the log of a partition. Positions ascend with the messages, also across unloads
// and when a topic is deleted and created again.
type Position struct {
	Ledger, Entry int64
	Batch         int32 // index within the entry; 0 for a message sent alone
}

// PositionOf returns the position of a message id.
func PositionOf(id pulsar.MessageID) Position {
	return Position{Ledger: id.LedgerID(), Entry: id.EntryID(), Batch: max(id.BatchIdx(), 0)}
}

// Compare returns -1, 0 or +1, like [cmp.Compare].
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Ledger, q.Ledger), cmp.Compare(p.Entry, q.Entry), cmp.Compare(p.Batch, q.Batch))
}

// String returns ledger:entry:batch, as brokers and their tools write it.
func (p Position) String() string { return fmt.Sprintf("%d:%d:%d", p.Ledger, p.Entry, p.Batch) }

// entry records what was delivered of one entry of the log: a single message, or messages of a batch. The offsets of a
// batch are dense: the message with index i has base + i, whether brokers number messages or offsets are packed.
type entry struct {
	ledger, entry int64
	base          int64 // offset of the message with index 0
	size          int32 // messages in it
	single        bool  // not a batch
	chunked       bool  // last entry of a message in chunks
	closed        bool  // nothing more of it will be delivered: its last message was, or one of a later entry
	acked         bool  // confirmed as a whole
	count         int32 // messages delivered
	id            pulsar.MessageID
	out           []uint64 // of a batch: bit i is set when the message with index i was delivered
}

// settledness says how many of an entry's delivered messages are settled.
type settledness uint8

const (
	none settledness = iota
	some
	all
)

func newEntry(at Position, id pulsar.MessageID, offset int64) entry {
	e := entry{
		ledger: at.Ledger, entry: at.Entry, base: offset - int64(at.Batch), size: max(id.BatchSize(), at.Batch+1),
		single: id.BatchSize() <= 1, chunked: id.BatchIdx() < 0, id: id,
	}
	if !e.single {
		e.out = make([]uint64, (e.size+63)/64)
	}
	return e
}

// add records the delivery of the message with index i.
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

// has reports whether the message with index i was delivered.
func (e *entry) has(i int32) bool {
	return e.single || i < e.size && e.out[i/64]&(1<<(i%64)) != 0
}

// lowest returns the lowest offset delivered.
func (e *entry) lowest() int64 {
	for i := range e.size {
		if e.has(i) {
			return e.base + int64(i)
		}
	}
	return e.base
}

// whole returns an id that acknowledges the entire entry, without the library's tracker. For a message in chunks it
// returns the id that came with it.
func (e *entry) whole() pulsar.MessageID {
	if e.chunked {
		return e.id
	}
	return pulsar.NewMessageID(e.ledger, e.entry, -1, e.id.PartitionIdx())
}

// complete reports whether all messages of the entry were delivered. Some messages of a batch are not if another program
// has acknowledged them singly.
func (e *entry) complete() bool { return e.single || e.count == e.size }

// adjoins reports whether next directly follows the entry in the log.
func (e *entry) adjoins(next *entry) bool {
	return e.ledger == next.ledger && e.entry+1 == next.entry && !next.chunked
}

// settled returns how much of the entry p settles, and how many messages. r indexes the first range of p.Ahead that ends
// above the offsets checked so far; settled advances it.
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

// below reports whether p settles an offset. Offsets must ascend from call to call.
func below(p *commit.Progress, r *int, offset int64) bool {
	if offset < p.Frontier {
		return true
	}
	for *r < len(p.Ahead) && p.Ahead[*r].To <= offset {
		*r++
	}
	return *r < len(p.Ahead) && p.Ahead[*r].From <= offset
}
