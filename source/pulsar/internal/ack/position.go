package ack

import (
	"cmp"
	"fmt"

	"github.com/apache/pulsar-client-go/pulsar"
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
