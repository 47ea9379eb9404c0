package commit

import (
	"math/bits"
	"slices"
)

const (
	blockBits = 12
	blockSize = 1 << blockBits // messages in a block
	blockMask = blockSize - 1

	wordShift = 6
	wordBits  = 1 << wordShift // messages in a word of a block
	wordMask  = wordBits - 1
)

// block holds which of blockSize consecutive numbers are settled, and their offsets.
//
// Offsets are stored as break-points: message i has offset first + i + the sum of the holes up to it. A log without
// holes needs none, and a compacted log needs 10 bytes a hole. One slice of pairs instead of two slices would need 16,
// for padding.
type block struct {
	settled [blockSize / wordBits]uint64 // a set bit means settled
	count   int                          // number of set bits
	first   int64                        // offset of message 0
	at      []uint16                     // break-points, ascending: from message at[k] on,
	skip    []int64                      // offsets are first + i + skip[k]
}

// reset makes a used block an empty one whose message 0 has the given offset. It keeps the slices' memory.
func (b *block) reset(first int64) {
	clear(b.settled[:])
	b.count, b.first, b.at, b.skip = 0, first, b.at[:0], b.skip[:0]
}

// add appends the offsets of messages i, i+1, ...
func (b *block) add(i int, offsets []int64) {
	last := int64(0)
	if n := len(b.skip); n > 0 {
		last = b.skip[n-1]
	}
	// Offsets ascend, so n offsets that span n have no hole among them. This is the usual case, so it is checked first.
	n := len(offsets)
	contiguous := offsets[n-1]-offsets[0] == int64(n-1)
	for k, o := range offsets {
		if skip := o - b.first - int64(i+k); skip != last {
			b.at, b.skip, last = append(b.at, uint16(i+k)), append(b.skip, skip), skip
		}
		if contiguous {
			return
		}
	}
}

// offset returns the offset of message i.
func (b *block) offset(i int) int64 {
	o := b.first + int64(i)
	if len(b.at) == 0 {
		return o
	}
	k, found := slices.BinarySearch(b.at, uint16(i))
	if found {
		k++
	}
	if k == 0 {
		return o
	}
	return o + b.skip[k-1]
}

// settle sets these bits of a word and returns those that were clear.
func (b *block) settle(word int, mask uint64) (fresh uint64) {
	fresh = mask &^ b.settled[word]
	b.settled[word] |= fresh
	b.count += bits.OnesCount64(fresh)
	return fresh
}

// has reports whether message i is settled.
func (b *block) has(i int) bool { return b.settled[i/wordBits]&(1<<(i%wordBits)) != 0 }

// next returns the first message in [i, end) that is settled, or with settled false the first that is not. It returns
// end if there is none.
func (b *block) next(i, end int, settled bool) int {
	flip := ^uint64(0)
	if settled {
		flip = 0
	}
	for i < end {
		if w := (b.settled[i/wordBits] ^ flip) >> (i % wordBits); w != 0 {
			return min(i+bits.TrailingZeros64(w), end)
		}
		i = (i | (wordBits - 1)) + 1
	}
	return end
}
