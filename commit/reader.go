package commit

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader reads the bytes of a progress text in order. After the first error it returns only zeros.
type reader struct {
	data []byte
	err  error
}

// progress reads the whole text: the head, with At if it is placed, then the chunks. See Encode for the format.
func (r *reader) progress(placed bool) *Progress {
	p := &Progress{Frontier: r.varint(), Epoch: r.varint()}
	p.Log = string(r.bytes(r.uvarint()))
	if placed {
		if p.At = string(r.bytes(r.uvarint())); p.At == "" {
			r.fail("empty place")
		}
	}
	at := p.Frontier
	for len(r.data) > 0 && r.err == nil {
		head := r.uvarint()
		switch n := head >> 1; {
		case n == 0:
			r.fail("empty chunk")
		case head&1 == 0:
			at = r.runs(p, n, at)
		default:
			at = r.bitmap(p, n, at)
		}
	}
	return p
}

// runs reads n runs that begin at offset at and returns the offset after them.
func (r *reader) runs(p *Progress, n uint64, at int64) int64 {
	if n > uint64(len(r.data))/2 {
		r.fail("more runs than bytes")
		return at
	}
	for range n {
		gap, length := r.uvarint(), r.uvarint()
		at = r.cover(p, at, gap, length)
		if r.err != nil {
			return at
		}
	}
	return at
}

// bitmap reads n bits that begin at offset at and returns the offset after them.
func (r *reader) bitmap(p *Progress, n uint64, at int64) int64 {
	if n > uint64(len(r.data))*8 {
		r.fail("more bits than bytes")
		return at
	}
	words := r.bytes((n + 7) / 8)
	bit := func(i uint64) bool { return words[i/8]&(1<<(i%8)) != 0 }
	if !bit(n-1) || words[len(words)-1]>>((n-1)%8) != 1 {
		r.fail("bitmap does not end with a set bit")
		return at
	}
	for i := uint64(0); i < n && r.err == nil; {
		gap := i
		for !bit(i) {
			i++
		}
		gap = i - gap
		length := i
		for i < n && bit(i) {
			i++
		}
		at = r.cover(p, at, gap, i-length)
	}
	return at
}

// cover adds a range of the given length after a gap and returns its end.
func (r *reader) cover(p *Progress, at int64, gap, length uint64) int64 {
	left := uint64(math.MaxInt64) - uint64(at) // offsets above at; correct for a negative at too
	if r.err != nil || length == 0 || (gap == 0 && len(p.Ahead) > 0) || gap > left || length > left-gap {
		r.fail("range is empty, touches the previous one or exceeds the largest offset")
		return at
	}
	from := int64(uint64(at) + gap)
	to := int64(uint64(from) + length)
	p.Ahead = append(p.Ahead, Range{from, to})
	return to
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail("unterminated number")
		return 0
	}
	r.data = r.data[n:]
	return x
}

func (r *reader) varint() int64 {
	x := r.uvarint()
	return int64(x>>1) ^ -int64(x&1)
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.fail("length exceeds the text")
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

// fail keeps the first error and stops reading.
func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	r.data = nil
}
