package pulsar

import (
	"fmt"

	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

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
