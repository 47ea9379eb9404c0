package record

import (
	"encoding/binary"

	"github.com/keystrand/keystrand/middleware/spill"
)

// Owner is what a store keeps of the last owner of a partition.
type Owner struct {
	Partition uint32 // the number that the store gave the partition, for the keys of its records
	Claim     int64  // counts the Opens: only the last one may change anything
	Epoch     int64
	Log       string
}

// Refuses reports whether o is older than this owner.
func (w *Owner) Refuses(o spill.Owner) bool {
	return w.Claim > 0 && w.Log == o.Log && w.Epoch > o.Epoch
}

// Append appends the owner to dst.
func (w *Owner) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, Version)
	dst = binary.AppendUvarint(dst, uint64(w.Partition))
	dst = binary.AppendVarint(dst, w.Claim)
	dst = binary.AppendVarint(dst, w.Epoch)
	return appendSum(appendString(dst, w.Log), start)
}

// DecodeOwner returns the owner that Append has made b of.
func DecodeOwner(b []byte) (Owner, error) {
	r, err := newReader(b)
	if err != nil {
		return Owner{}, err
	}
	number := r.uvarint()
	w := Owner{Partition: uint32(number), Claim: r.varint(), Epoch: r.varint(), Log: r.string()}
	if uint64(w.Partition) != number {
		return Owner{}, ErrCorrupt
	}
	return w, r.end()
}
