package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// MaxKey is the length in bytes from which a key is kept as its hash, so that the keys of stores stay short. The strand has the
// key itself.
const MaxKey = 1 << 10

// KeyOf appends to dst the key of a strand: its partition, by the number that the store gave it, and its key, any bytes. No
// result is the beginning of another.
func KeyOf(dst []byte, partition uint32, key string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, partition)
	if len(key) >= MaxKey {
		sum := sha256.Sum256([]byte(key))
		return append(append(dst, 1), sum[:]...)
	}
	dst = append(dst, 0)
	for {
		i := strings.IndexByte(key, 0)
		if i < 0 {
			break
		}
		dst = append(append(dst, key[:i]...), 0, 0xff) // above the end of a shorter key
		key = key[i+1:]
	}
	return append(append(dst, key...), 0, 0)
}

// WithOffset appends an offset to the key of a strand: that is the key of a record. Keys of one strand ascend with the offset.
func WithOffset(strand []byte, offset int64) []byte {
	return binary.BigEndian.AppendUint64(strand, uint64(offset)^1<<63) // the sign is flipped: negative offsets come first
}

// OffsetOf returns the offset in the key of a record, and reports whether it is one of this strand.
func OffsetOf(strand, key []byte) (int64, bool) {
	if len(key) != len(strand)+8 || !bytes.HasPrefix(key, strand) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[len(strand):]) ^ 1<<63), true // as in WithOffset
}

// PartitionKey returns the beginning of the keys of all strands of a partition.
func PartitionKey(partition uint32) []byte { return binary.BigEndian.AppendUint32(nil, partition) }
