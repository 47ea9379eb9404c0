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

// block holds what the tracker knows about blockSize consecutive numbers: which are settled, and their offsets.
//
// Offsets are kept as break-points: message i of the block has offset first + i + (sum of the holes up to it), so a log
// without holes needs none, and a compacted one 10 bytes a hole. Two slices, not one of pairs: padding would make it 16.
type block struct {
	settled [blockSize / wordBits]uint64 // a set bit = settled
	count   int                          // set bits
	first   int64                        // offset of message 0
	at      []uint16                     // break-points, ascending: from message at[k] on ...
	skip    []int64                      // ... offsets are skip[k] above first + i
}

// reset makes a used block a fresh one whose message 0 has the given offset. The slices keep their memory.
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
	// Offsets ascend, so n of them that span n have no hole among them: the usual case costs one look.
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

// has tells whether message i is settled.
func (b *block) has(i int) bool { return b.settled[i/wordBits]&(1<<(i%wordBits)) != 0 }

// next returns the first message in [i, end) whose settled bit is as asked, or end.
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
