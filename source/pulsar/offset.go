package pulsar

import (
	"cmp"
	"fmt"

	"github.com/apache/pulsar-client-go/pulsar"
)

// position is where a message is in the log of a partition, as brokers number it. Positions ascend with the messages,
// also over unloads and when a topic is made again.
type position struct {
	ledger, entry int64
	batch         int32 // within the entry, 0 for a message that is alone in it
}

func positionOf(id pulsar.MessageID) position {
	return position{ledger: id.LedgerID(), entry: id.EntryID(), batch: max(id.BatchIdx(), 0)}
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.ledger, q.ledger), cmp.Compare(p.entry, q.entry), cmp.Compare(p.batch, q.batch))
}

// String returns ledger:entry:batch, as brokers and their tools write it.
func (p position) String() string { return fmt.Sprintf("%d:%d:%d", p.ledger, p.entry, p.batch) }

// Bits of a packed offset. A ledger id counts all ledgers of a cluster, an entry those of one ledger (a broker begins a
// new one after 50,000 unless told otherwise), a batch the messages of one entry (1,000 in most clients).
const (
	ledgerBits = 27
	entryBits  = 24
	batchBits  = 12
)

// pack makes an offset of a position. It ascends with the positions and is never used again, because no ledger id is.
func pack(p position) (int64, error) {
	if p.ledger < 0 || p.ledger >= 1<<ledgerBits || p.entry < 0 || p.entry >= 1<<entryBits || p.batch >= 1<<batchBits {
		return 0, fmt.Errorf("the message id %v does not fit into an offset of %d bits of ledger, %d of entry, %d of batch: "+
			"let the brokers number the messages (brokerEntryMetadataInterceptors with AppendIndexMetadataInterceptor, "+
			"exposingBrokerEntryMetadataToClientEnabled) and set Config.Offsets to OffsetsIndex", p, ledgerBits, entryBits, batchBits)
	}
	return p.ledger<<(entryBits+batchBits) | p.entry<<batchBits | int64(p.batch), nil
}
