package fetch

import (
	"encoding/binary"
	"errors"
	"math"
)

// errShort says that a message ended in the middle of a field, or that a length in it is impossible.
var errShort = errors.New("the message ends in the middle of a field")

// writer appends the primitive types of the Kafka protocol (https://kafka.apache.org/protocol#protocol_types).
// flexible selects the compact forms of KIP-482.
type writer struct {
	b        []byte
	flexible bool
}

func (w *writer) i8(v int8)   { w.b = append(w.b, byte(v)) }
func (w *writer) i16(v int16) { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w *writer) i32(v int32) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) i64(v int64) { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }

func (w *writer) bool(v bool) {
	if v {
		w.i8(1)
	} else {
		w.i8(0)
	}
}

func (w *writer) length(n int) {
	if w.flexible {
		w.b = binary.AppendUvarint(w.b, uint64(n)+1)
	} else {
		w.i32(int32(n))
	}
}

func (w *writer) string(s string) {
	if w.flexible {
		w.b = binary.AppendUvarint(w.b, uint64(len(s))+1)
	} else {
		w.i16(int16(len(s)))
	}
	w.b = append(w.b, s...)
}

// tags writes an empty tag section where the version has them.
func (w *writer) tags() {
	if w.flexible {
		w.b = append(w.b, 0)
	}
}

// reader reads what writer writes. After the first error everything it returns is zero, and err stays. A length that
// does not fit in what is left is an error before anything is allocated for it.
type reader struct {
	b        []byte
	flexible bool
	err      error
}

func (r *reader) fail() { r.b, r.err = nil, errShort }

// take returns the next n bytes, not copied.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) i8() int8 {
	if v := r.take(1); v != nil {
		return int8(v[0])
	}
	return 0
}

func (r *reader) i16() int16 {
	if v := r.take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *reader) i32() int32 {
	if v := r.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (r *reader) i64() int64 {
	if v := r.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length reads the length of an array or of bytes: -1 is null. Each element has at least one byte.
func (r *reader) length() int {
	var n int64
	if r.flexible {
		u := r.uvarint()
		if u > math.MaxInt32 {
			r.fail()
			return 0
		}
		n = int64(u) - 1
	} else {
		n = int64(r.i32())
	}
	if n < -1 || n > int64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// bytes returns nil for null, and the bytes, not copied, otherwise.
func (r *reader) bytes() []byte {
	n := r.length()
	if n < 0 || r.err != nil {
		return nil
	}
	return r.take(n)
}

// string returns the empty string for null.
func (r *reader) string() string {
	if r.flexible {
		return string(r.bytes())
	}
	n := int(r.i16())
	if n < 0 {
		return ""
	}
	return string(r.take(n))
}

// tags skips the tag section where the version has one, telling each to see if that is not nil.
func (r *reader) tags(see func(tag uint64, value reader)) {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		tag, size := r.uvarint(), r.uvarint()
		if size > uint64(len(r.b)) {
			r.fail()
			return
		}
		if v := r.take(int(size)); see != nil && r.err == nil {
			see(tag, reader{b: v, flexible: true})
		}
	}
}
