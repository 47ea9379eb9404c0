// Package record is the form in which stores keep records and strands: versioned bytes with a checksum, and keys whose order is
// that of partition, key and offset. Bytes that are damaged, or of a later version, are errors, never other records.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
)

// Version is the version of the forms that this package writes, and the largest that it reads.
const Version = 1

// Errors of decoding.
var (
	ErrCorrupt = errors.New("the bytes are damaged")
	ErrNewer   = errors.New("written by a newer version of keystrand")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // immutable table

// Append appends m to dst. m is the result of [spill.AsStored]. Stream and Partition are not part of the form.
func Append(dst []byte, m *keystrand.Message) []byte {
	start := len(dst)
	dst = append(dst, Version)
	dst = binary.AppendUvarint(dst, uint64(m.Size())) // a size is not negative
	dst = binary.AppendVarint(dst, m.Offset)
	dst = appendTime(dst, m.Time)
	dst = appendTime(dst, m.Fetched)
	dst = appendBytes(dst, m.Key)
	dst = appendBytes(dst, m.Value)
	dst = binary.AppendUvarint(dst, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		dst = appendString(dst, h.Key)
		dst = appendBytes(dst, h.Value)
	}
	return appendSum(dst, start)
}

// Size returns the Message.Size of a record, from the bytes that Append made, without looking at the rest of them.
func Size(b []byte) (int64, error) {
	if len(b) == 0 || b[0] != Version {
		return 0, versionError(b)
	}
	n, used := binary.Uvarint(b[1:])
	if used <= 0 || n > uint64(len(b)) {
		return 0, ErrCorrupt
	}
	return int64(n), nil // at most len(b)
}

// Decode returns the message that Append has made b of. The message shares the bytes of b.
func Decode(b []byte) (keystrand.Message, error) {
	r, err := newReader(b)
	if err != nil {
		return keystrand.Message{}, err
	}
	size := r.uvarint()
	m := keystrand.Message{Offset: r.varint(), Time: r.time(), Fetched: r.time(), Key: r.bytes(), Value: r.bytes()}
	if n := r.uvarint(); n > uint64(len(r.b)) { // each has at least one byte
		r.failed = true
	} else if n > 0 {
		m.Headers = make([]keystrand.Header, n)
	}
	for i := range m.Headers {
		m.Headers[i] = keystrand.Header{Key: r.string(), Value: r.bytes()}
	}
	if err := r.end(); err != nil {
		return keystrand.Message{}, err
	}
	if size != uint64(m.Size()) { // a size is not negative
		return keystrand.Message{}, ErrCorrupt
	}
	return m, nil
}

// Check returns the error of a record that no store can keep under this owner.
func Check(o spill.Owner, r *spill.Record) error {
	m := &r.Message
	switch {
	case m.Stream != o.Stream || m.Partition != o.Partition:
		return fmt.Errorf("the message is of %s/%d, the log of %s/%d", m.Stream, m.Partition, o.Stream, o.Partition)
	case m.Offset < 0:
		return fmt.Errorf("offset %d is negative", m.Offset)
	case r.From > m.Offset || r.From < 0:
		return fmt.Errorf("value %d of From is not between 0 and the offset %d", r.From, m.Offset)
	}
	return nil
}

// Time is kept in seconds and nanoseconds: nanoseconds alone do not hold the zero time.
func appendTime(dst []byte, t time.Time) []byte {
	dst = binary.AppendVarint(dst, t.Unix())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond())) // 0 to 999999999
}

// appendBytes keeps nil and empty apart.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b))+1)
	return append(dst, b...)
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendSum(dst []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}
