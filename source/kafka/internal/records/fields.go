package records

import "encoding/binary"

// fields reads the parts of a record of magic 2: variable-length integers in zigzag form, and bytes behind their
// length, -1 for null. After the first malformed field, bad is set and every later field is zero.
type fields struct {
	b   []byte
	bad bool
}

func (p *fields) skip(n int) {
	if n > len(p.b) {
		p.b, p.bad = nil, true
		return
	}
	p.b = p.b[n:]
}

func (p *fields) varint() int64 {
	v, n := varint(p.b)
	if n == 0 {
		p.b, p.bad = nil, true
		return 0
	}
	p.b = p.b[n:]
	return v
}

// bytes returns nil for null, and else a slice that is not nil and cannot be appended into its neighbor.
func (p *fields) bytes() []byte {
	n := p.varint()
	if n < 0 {
		p.bad = p.bad || n < -1
		return nil
	}
	if p.bad || n > int64(len(p.b)) {
		p.b, p.bad = nil, true
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}

// varint reads a zigzag integer; n is 0 if there is none.
func varint(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 { // most lengths and deltas
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	v, n = binary.Varint(b)
	return v, max(n, 0)
}
