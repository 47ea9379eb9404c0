package commit

import (
	"encoding/binary"
	"math/bits"
)

// chunk is a part of the text's body: some neighbouring ranges, written as runs or as a bitmap.
type chunk struct {
	bitmap bool
	start  int64 // the offset where the chunk before ended
	ranges []Range
}

const (
	maxChunk  = 1<<13 - 1 // runs or bits in one chunk: its head is then at most two bytes
	headBits  = 2 * 8
	asRuns    = 0
	asBitmap  = 1
	carriesOn = 2
	never     = int64(1) << 62
)

// plan cuts ranges into chunks: as many of the ranges, from the first on, as fit into room bytes, in nearly the fewest
// bytes.
//
// It goes along the ranges once and knows for either form the cheapest way to have written everything so far and to be
// in that form now; the next range carries that chunk on, or opens a new one. (Cutting every so many ranges is simpler,
// but either misses short stretches that suit the other form, or pays for many heads.) Heads and the padding of bitmaps
// count at their highest, so what is planned to fit does fit.
func plan(frontier int64, ranges []Range, room int) []chunk {
	budget := never
	if int64(room) < 1<<40 {
		budget = int64(room) * 8
	}
	// step[i] tells for both forms how range i was reached: by carrying on, or from which form's best way.
	step := make([][2]uint8, 0, min(int64(len(ranges)), budget/2+1))
	cost := [2]int64{never, never}
	size := [2]int64{} // runs or bits in the chunk that would be carried on
	fit := [2]int{}    // ranges that fit if the last chunk has that form
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
		if gap <= maxChunk && length <= maxChunk && gap+length <= maxChunk { // longer ones are shorter as runs
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

// cut walks the steps back from the last range, which is in a chunk of the given form.
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

// append writes the chunk.
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

// uvarintLen is the number of bytes that encoding/binary's AppendUvarint writes for x.
func uvarintLen(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }
