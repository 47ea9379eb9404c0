package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrShort is the error of a message that ends in the middle of a field, or has an impossible length.
var ErrShort = errors.New("message ends in the middle of a field")

// Reader reads what Writer appends. After the first error it returns zero values, and Err stays. A length that does not
// fit in the rest is an error before anything is allocated for it.
type Reader struct {
	B        []byte
	Flexible bool
	Err      error
}

// Fail sets the error to ErrShort.
func (r *Reader) Fail() { r.B, r.Err = nil, ErrShort }

// Take returns the next n bytes, not copied.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.B) {
		r.Fail()
		return nil
	}
	v := r.B[:n:n]
	r.B = r.B[n:]
	return v
}

// I8 reads an INT8.
func (r *Reader) I8() int8 {
	if v := r.Take(1); v != nil {
		return int8(v[0])
	}
	return 0
}

// I16 reads an INT16.
func (r *Reader) I16() int16 {
	if v := r.Take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

// I32 reads an INT32.
func (r *Reader) I32() int32 {
	if v := r.Take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

// I64 reads an INT64.
func (r *Reader) I64() int64 {
	if v := r.Take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *Reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Length reads the length of an array or of bytes: -1 is null. Each element has at least one byte.
func (r *Reader) Length() int {
	var n int64
	if r.Flexible {
		u := r.uvarint()
		if u > math.MaxInt32 {
			r.Fail()
			return 0
		}
		n = int64(u) - 1
	} else {
		n = int64(r.I32())
	}
	if n < -1 || n > int64(len(r.B)) {
		r.Fail()
		return 0
	}
	return int(n)
}

// Bytes returns nil for null, and the bytes, not copied, otherwise.
func (r *Reader) Bytes() []byte {
	n := r.Length()
	if n < 0 || r.Err != nil {
		return nil
	}
	return r.Take(n)
}

// Text returns the empty string for null.
func (r *Reader) Text() string {
	if r.Flexible {
		return string(r.Bytes())
	}
	n := int(r.I16())
	if n < 0 {
		return ""
	}
	return string(r.Take(n))
}

// Tags skips the tag section where the version has one, and calls see for each tag unless it is nil.
func (r *Reader) Tags(see func(tag uint64, value Reader)) {
	if !r.Flexible {
		return
	}
	for n := r.uvarint(); n > 0 && r.Err == nil; n-- {
		tag, size := r.uvarint(), r.uvarint()
		if size > uint64(len(r.B)) {
			r.Fail()
			return
		}
		if v := r.Take(int(size)); see != nil && r.Err == nil {
			see(tag, Reader{B: v, Flexible: true})
		}
	}
}
