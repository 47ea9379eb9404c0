package commit

import (
	"encoding/binary"
	"math/bits"
)

// chunk is a part of the text's body: neighbouring ranges, written as runs or as a bitmap.
type chunk struct {
	bitmap bool
	start  int64 // offset where the previous chunk ended
	ranges []Range
}

const (
	maxChunk  = 1<<13 - 1 // maximum runs or bits in a chunk, so that its head has at most two bytes
	headBits  = 2 * 8
	asRuns    = 0
	asBitmap  = 1
	carriesOn = 2
	never     = int64(1) << 62
)

// plan cuts ranges into chunks: the longest prefix of ranges that fits into room bytes, in nearly the fewest bytes.
//
// It visits each range once. For either form it keeps the cheapest way to write everything so far and end in that form;
// the next range either extends that chunk or opens a new one. It counts heads and the padding of bitmaps at their
// maximum, so a plan that fits is a text that fits.
//
// Cutting at every fixed number of ranges would be simpler. But long chunks miss short stretches that suit the other
// form, and short ones cost many heads.
func plan(frontier int64, ranges []Range, room int) []chunk {
	budget := never
	if int64(room) < 1<<40 {
		budget = int64(room) * 8
	}
	// step[i] holds for each form how range i is reached: by extending its chunk, or from which other form.
	step := make([][2]uint8, 0, min(int64(len(ranges)), budget/2+1))
	cost := [2]int64{never, never}
	size := [2]int64{} // runs or bits in the chunk that may be extended
	fit := [2]int{}    // number of ranges that fit if the last chunk has that form
	start := frontier
	for i, r := range ranges {
		gap, length := uint64(r.From)-uint64(start), uint64(r.To)-uint64(r.From)
		start = r.To
		from, before := asRuns, cost[asRuns]
		if cost[asBitmap] < before {
			from, before = asBitmap, cost[asBitmap]
		}
		if i == 0 {
			before = 0
		}
		var how [2]uint8
		bitsOf := [2]int64{8 * int64(uvarintLen(gap)+uvarintLen(length)), never}
		grow := [2]int64{1, 0}
		if gap <= maxChunk && length <= maxChunk && gap+length <= maxChunk { // longer ranges are cheaper as runs
			bitsOf[asBitmap], grow[asBitmap] = int64(gap+length), int64(gap+length)
		}
		open := [2]int64{headBits, headBits + 7}
		for form := range how {
			how[form] = carriesOn
			if fresh := before + open[form]; size[form]+grow[form] > maxChunk || fresh < cost[form] {
				how[form], cost[form], size[form] = uint8(from), fresh, 0
			}
			cost[form] = min(never, cost[form]+bitsOf[form])
			size[form] += grow[form]
			if cost[form] <= budget && cost[form] < never {
				fit[form] = i + 1
			}
		}
		step = append(step, how)
		if min(cost[asRuns], cost[asBitmap]) > budget {
			break
		}
	}
	form, n := asRuns, fit[asRuns]
	if fit[asBitmap] > n || (fit[asBitmap] == n && cost[asBitmap] < cost[asRuns]) {
		form, n = asBitmap, fit[asBitmap]
	}
	return cut(frontier, ranges[:n], step, form)
}

// cut follows the steps back from the last range, whose chunk has the given form, and returns the chunks.
func cut(frontier int64, ranges []Range, step [][2]uint8, form int) []chunk {
	var chunks []chunk
	for end := len(ranges); end > 0; {
		i := end - 1
		for i > 0 && step[i][form] == carriesOn {
			i--
		}
		c := chunk{bitmap: form == asBitmap, start: frontier, ranges: ranges[i:end]}
		if i > 0 {
			c.start = ranges[i-1].To
		}
		chunks = append(chunks, c)
		end, form = i, int(step[i][form])
	}
	for i, j := 0, len(chunks)-1; i < j; i, j = i+1, j-1 {
		chunks[i], chunks[j] = chunks[j], chunks[i]
	}
	return chunks
}

// append appends the encoded chunk to dst.
func (c chunk) append(dst []byte) []byte {
	if !c.bitmap {
		dst = binary.AppendUvarint(dst, uint64(len(c.ranges))<<1)
		at := c.start
		for _, r := range c.ranges {
			dst = binary.AppendUvarint(dst, uint64(r.From)-uint64(at))
			dst = binary.AppendUvarint(dst, uint64(r.To)-uint64(r.From))
			at = r.To
		}
		return dst
	}
	n := uint64(c.ranges[len(c.ranges)-1].To) - uint64(c.start)
	dst = binary.AppendUvarint(dst, n<<1|1)
	base := len(dst)
	dst = append(dst, make([]byte, (n+7)/8)...)
	for _, r := range c.ranges {
		for i := uint64(r.From) - uint64(c.start); i < uint64(r.To)-uint64(c.start); i++ {
			dst[base+int(i/8)] |= 1 << (i % 8)
		}
	}
	return dst
}

// uvarintLen returns the number of bytes that binary.AppendUvarint writes for x.
func uvarintLen(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }
