package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// reader reads the parts of a form. After a failure it returns zero values.
type reader struct {
	b      []byte
	failed bool
}

// newReader checks version and checksum.
func newReader(b []byte) (*reader, error) {
	if len(b) == 0 || b[0] != Version {
		return nil, versionError(b)
	}
	if len(b) < 5 {
		return nil, ErrCorrupt
	}
	body := b[: len(b)-4 : len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, ErrCorrupt
	}
	return &reader{b: body[1:]}, nil
}

func versionError(b []byte) error {
	if len(b) > 0 && b[0] > Version {
		return fmt.Errorf("version %d: %w", b[0], ErrNewer)
	}
	return ErrCorrupt
}

// end returns an error unless all bytes were read, and none was missing.
func (r *reader) end() error {
	if r.failed || len(r.b) > 0 {
		return ErrCorrupt
	}
	return nil
}

func (r *reader) uvarint() uint64 {
	n, used := binary.Uvarint(r.b)
	r.skip(used)
	return n
}

func (r *reader) varint() int64 {
	n, used := binary.Varint(r.b)
	r.skip(used)
	return n
}

func (r *reader) time() time.Time {
	sec, nsec := r.varint(), r.uvarint()
	if nsec >= uint64(time.Second) {
		r.failed = true
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC() // below a second
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	return r.take(n - 1)
}

func (r *reader) string() string { return string(r.take(r.uvarint())) }

// take returns the next n bytes. An append to them does not reach the bytes behind.
func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) skip(n int) {
	if r.failed || n <= 0 {
		r.failed = true
		r.b = nil
		return
	}
	r.b = r.b[n:]
}
