package assign

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Claims are the partitions that a member owned before, for the leader of the group.
type Claims struct {
	// Generation is the generation of the group in which the member owned them.
	Generation int32
	Owned      []Partition
}

// ErrClaims is the error of DecodeClaims for bytes that Encode did not write.
var ErrClaims = errors.New("assign: not claims of a member: another strategy or a newer version wrote them, or they are damaged")

const claimsVersion = 1

// Encode returns the claims as bytes: the version 1, the generation, the number of topics, and for each topic its name (length
// and bytes), the number of its partitions and their numbers. All numbers after the version are varints.
func (c Claims) Encode() []byte {
	b := []byte{claimsVersion}
	b = binary.AppendVarint(b, int64(c.Generation))
	byTopic := make(map[string][]int32)
	var topics []string
	for _, tp := range c.Owned {
		if _, known := byTopic[tp.Topic]; !known {
			topics = append(topics, tp.Topic)
		}
		byTopic[tp.Topic] = append(byTopic[tp.Topic], tp.Number)
	}
	b = binary.AppendUvarint(b, uint64(len(topics)))
	for _, t := range topics {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
		b = binary.AppendUvarint(b, uint64(len(byTopic[t])))
		for _, n := range byTopic[t] {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

// DecodeClaims is the inverse of Encode. No bytes are no claims. Other bytes are an error that wraps [ErrClaims]; the leader
// then ignores the claims of that member.
func DecodeClaims(b []byte) (Claims, error) {
	if len(b) == 0 {
		return Claims{}, nil
	}
	if b[0] != claimsVersion {
		return Claims{}, fmt.Errorf("%w: version %d", ErrClaims, b[0])
	}
	r := claimsReader{b: b[1:]}
	c := Claims{Generation: int32(r.varint())}
	for range r.count() {
		topic := r.text()
		for range r.count() {
			c.Owned = append(c.Owned, Partition{topic, int32(r.uvarint())})
		}
	}
	if r.bad || len(r.b) > 0 {
		return Claims{}, fmt.Errorf("%w: %d bytes, truncated or damaged", ErrClaims, len(b))
	}
	return c, nil
}

type claimsReader struct {
	b   []byte
	bad bool
}

func (r *claimsReader) varint() int64 {
	v, n := binary.Varint(r.b)
	return advance(r, v, n)
}

func (r *claimsReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return advance(r, v, n)
}

// count reads the number of elements that follow. Each has at least one byte, so a wrong number is detected before memory is
// allocated for it.
func (r *claimsReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *claimsReader) text() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func advance[T int64 | uint64](r *claimsReader, v T, n int) T {
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}
