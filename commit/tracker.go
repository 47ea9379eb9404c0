package commit

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
)

var (
	// ErrOrder reports that Track or Advance was given offsets that do not ascend, or that are below the position.
	ErrOrder = errors.New("commit: offsets out of order")

	// ErrNotPending reports that Settle was given a number that was never tracked or is already settled.
	ErrNotPending = errors.New("commit: message is not pending")
)

// maxFree is the maximum number of empty blocks that a tracker keeps for reuse. They take at most 9 KiB on a plain log,
// and 650 KiB after a long stretch of a log with a hole behind every message.
const maxFree = 16

// Tracker records which fetched messages of a partition are settled, during one ownership of it.
//
// It numbers the messages without gaps in fetch order, because offsets may skip: the numbers alone show whether two
// messages are neighbours. It keeps one bit a message; a stretch of 4096 settled messages takes 24 bytes. Track, Settle
// and State cost O(1) amortised and allocate nothing in steady state.
//
// A map or a sorted set of offsets would be shorter code, but costs hundreds of nanoseconds and dozens of bytes a
// message. Taking the minimum of each worker's last finished message would be cheaper, but loses data: a worker that
// has not finished its first message yet is not in that minimum, and a restart would skip that message.
//
// A Tracker is safe for concurrent use. Only the goroutine that fetches should call Track and Advance.
type Tracker struct {
	log   string
	epoch int64
	place string // At of the restored progress

	mu       sync.Mutex
	position int64 // offset of the next fetch; every message below it is tracked
	frontier int64 // offset of message low, or position if nothing is pending
	low      int64 // number of the oldest unsettled message, or next
	next     int64 // number of the next message to track
	pending  int64 // unsettled messages in [low, next)
	changed  int64 // grows whenever Progress would return something new

	slots []slot // slots[head:] are the blocks of the numbers low to next-1
	head  int
	free  []*block

	restored []Range // ranges settled by an earlier owner that the frontier has not passed
	reached  int     // restored[:reached] end at or below the position
	unread   int64   // offsets of restored at or above the position
	scratch  []bool  // backing array of the slice that Track returns
}

// slot is the directory's entry for one block.
type slot struct {
	block *block // nil if all blockSize messages are settled
	first int64  // offset of its first message
	end   int64  // offset after its last message; set only when block is nil
}

// NewTracker returns a tracker that continues from restored. Its position is restored.Frontier, it takes over log
// identity, epoch and At, and restored.Ahead counts as settled until the frontier has passed it. A caller that begins a
// new epoch, or has found another log, sets these in restored. A nil restored is the zero Progress. The tracker keeps no
// reference to it.
func NewTracker(restored *Progress) *Tracker {
	if restored == nil {
		restored = &Progress{}
	}
	t := &Tracker{
		log:      restored.Log,
		epoch:    restored.Epoch,
		place:    restored.At,
		position: restored.Frontier,
		frontier: restored.Frontier,
		restored: slices.Clone(normalise(restored.Frontier, restored.Ahead)),
	}
	for _, r := range t.restored {
		t.unread += r.To - r.From
	}
	return t
}

// Trim frees the memory kept for future messages. Call it when the partition is expected to stay idle. The next messages
// may get numbers that do not follow the last ones.
func (t *Tracker) Trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.low == t.next { // its last block has no pending message: continue with a new one
		t.next = (t.next + blockMask) &^ blockMask
		t.low, t.slots, t.head = t.next, nil, 0
	}
	t.free, t.scratch = nil, nil
	t.slots = slices.Clone(t.slots[t.head:])
	t.head = 0
}

// Track records the messages of one fetch, in log order, and the position after them.
//
// Offsets must ascend, may skip, and must not be below the position. next must be above the last offset; it may be
// higher if the log holds no messages in between. offsets may be empty, see Advance. Track does not keep it.
//
// Message offsets[i] gets the number first+i. settled is nil, or as long as offsets and valid until the next Track.
// True marks a message that an earlier owner settled: the tracker counts it as settled, and the caller must drop it.
//
// On an error, which wraps [ErrOrder], Track records nothing. Track waits at most for the other methods' lock.
func (t *Tracker) Track(offsets []int64, next int64) (first int64, settled []bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()

	at := t.position
	for i, o := range offsets {
		if o < at || o == math.MaxInt64 {
			return 0, nil, fmt.Errorf("%w: offset %d (message %d of the batch) is below %d: the source must deliver a partition in log order", ErrOrder, o, i, at)
		}
		at = o + 1
	}
	if next < at {
		return 0, nil, fmt.Errorf("%w: position %d is below %d: a position must not move back", ErrOrder, next, at)
	}

	first = t.next
	for rest := offsets; len(rest) > 0; {
		i := int(t.next & blockMask)
		if i == 0 {
			t.slots = append(t.slots, slot{block: t.newBlock(rest[0]), first: rest[0]})
		}
		n := min(len(rest), blockSize-i)
		t.slots[len(t.slots)-1].block.add(i, rest[:n])
		t.next += int64(n)
		rest = rest[n:]
	}
	t.pending += int64(len(offsets))
	before := t.position
	t.position = next
	settled = t.settleRestored(first, offsets)
	if t.unread > 0 {
		t.passRestored(before)
	}
	t.advance()
	return first, settled, nil
}

// Advance records that the log holds no messages from the position up to next: control records, aborted transactions, a
// compacted tail, filtered rows. It is Track with no messages.
func (t *Tracker) Advance(next int64) error {
	_, _, err := t.Track(nil, next)
	return err
}

// Settle marks messages, by number, as settled. It may be called in any order and from any goroutine.
//
// If a number was never tracked or is already settled, the error wraps [ErrNotPending] and names the first such number:
// the caller has settled a message twice. Settle still settles the other numbers.
func (t *Tracker) Settle(numbers []int64) error {
	bad, wrong := int64(0), 0
	t.mu.Lock()
	for i := 0; i < len(numbers); {
		// Settle all neighbours of one word together. Batches are mostly in order, and 64 writes to one word would each
		// wait for the previous one.
		first, word, mask := i, numbers[i]>>wordShift, uint64(0)
		for ; i < len(numbers) && numbers[i]>>wordShift == word; i++ {
			bit := uint64(1) << (numbers[i] & wordMask)
			if mask&bit != 0 {
				break // a duplicate: the next round finds it already settled
			}
			mask |= bit
		}
		refused := t.settleWord(word, mask)
		if refused == 0 {
			continue
		}
		if wrong == 0 {
			for refused&(1<<(numbers[first]&wordMask)) == 0 {
				first++
			}
			bad = numbers[first]
		}
		wrong += bits.OnesCount64(refused)
	}
	if wrong < len(numbers) {
		t.changed++
		t.advance()
	}
	t.mu.Unlock()

	if wrong == 0 {
		return nil
	}
	return fmt.Errorf("%w: number %d (%d of %d in this call): never tracked or already settled; settle each message once", ErrNotPending, bad, wrong, len(numbers))
}

// Progress returns a snapshot. It holds every message whose Settle had returned, and none whose Settle had not begun.
// The value belongs to the caller. Its At is the restored one: a place before that frontier is before every later one,
// and the tracker knows no better.
//
// The cost grows with the distance from the oldest unsettled message to the position: one step for 64 messages, or for
// 4096 in a long settled stretch, and some tens of nanoseconds a range. The other methods wait meanwhile.
func (t *Tracker) Progress() *Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Progress{Log: t.log, Epoch: t.epoch, Frontier: t.frontier, Ahead: t.ahead(), At: t.place}
}

// State returns the tracker's state at one moment, in O(1).
func (t *Tracker) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := State{
		Position: t.position,
		Frontier: t.frontier,
		Pending:  t.pending,
		Ahead:    t.next - t.low - t.pending,
		Oldest:   -1,
		Changed:  t.changed,
	}
	if t.low < t.next {
		s.Oldest = t.low
	}
	return s
}

// Offset returns the offset of an unsettled message. It returns false if the number is settled or was never tracked.
func (t *Tracker) Offset(number int64) (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number < t.low || number >= t.next {
		return 0, false
	}
	b := t.slotOf(number).block
	if b == nil || b.has(int(number&blockMask)) {
		return 0, false
	}
	return b.offset(int(number & blockMask)), true
}

// settleWord settles the numbers of the set bits of mask in the given word. It returns the bits that were not pending.
func (t *Tracker) settleWord(word int64, mask uint64) (refused uint64) {
	base := word << wordShift
	wanted := mask
	if base < t.low { // bits below low are settled
		if base+wordMask < t.low {
			return wanted
		}
		mask &= ^uint64(0) << (t.low - base)
	}
	if base >= t.next { // bits from next on are not tracked
		return wanted
	}
	if left := t.next - base; left < wordBits {
		mask &= 1<<left - 1
	}
	s := t.slotOf(base)
	b := s.block
	if b == nil {
		return wanted
	}
	fresh := b.settle(int(base&blockMask)/wordBits, mask)
	t.pending -= int64(bits.OnesCount64(fresh))
	if b.count == blockSize {
		t.fill(s)
	}
	return wanted &^ fresh
}

// slotOf returns the slot of a number from low's block to the block of next-1.
func (t *Tracker) slotOf(n int64) *slot { return &t.slots[t.head+int(n>>blockBits-t.low>>blockBits)] }

// newBlock returns an empty block, a used one if possible.
func (t *Tracker) newBlock(first int64) *block {
	b := &block{}
	if n := len(t.free); n > 0 {
		b, t.free = t.free[n-1], t.free[:n-1]
	}
	b.reset(first)
	return b
}

// fill marks a slot as settled completely and keeps its block for reuse.
func (t *Tracker) fill(s *slot) {
	s.end = s.block.offset(blockMask) + 1
	if len(t.free) < maxFree {
		t.free = append(t.free, s.block)
	}
	s.block = nil
}

// advance moves low over the settled messages, drops the blocks below it and sets the frontier.
func (t *Tracker) advance() {
	for t.low < t.next {
		b := t.slots[t.head].block
		if b != nil {
			base := t.low &^ blockMask
			end := int(min(t.next-base, blockSize))
			if i := b.next(int(t.low-base), end, false); i < blockSize {
				t.low = base + int64(i)
				break
			}
		}
		t.low = (t.low | blockMask) + 1
		t.head++
	}
	if t.head > len(t.slots)/2 { // amortised: fewer slots are copied than were dropped
		n := copy(t.slots, t.slots[t.head:])
		clear(t.slots[n:])
		t.slots, t.head = t.slots[:n], 0
	}

	frontier := t.position
	if t.low < t.next {
		frontier = t.slots[t.head].block.offset(int(t.low & blockMask))
	}
	if frontier == t.frontier {
		return
	}
	t.frontier = frontier
	t.changed++
	passed := 0
	for passed < len(t.restored) && t.restored[passed].To <= frontier {
		passed++
	}
	t.restored, t.reached = t.restored[passed:], max(0, t.reached-passed)
}

// ahead returns the settled ranges at or above the frontier: the settled stretches of numbers, as offsets, merged with
// the remaining restored ranges. Offsets between two settled neighbours hold no message and belong to their range.
func (t *Tracker) ahead() []Range {
	var out []Range
	restored := t.restored
	add := func(r Range) {
		for len(restored) > 0 && restored[0].From <= r.From {
			out = appendRange(out, Range{max(restored[0].From, t.frontier), restored[0].To})
			restored = restored[1:]
		}
		out = appendRange(out, r)
	}

	var open bool // a settled stretch reaches the end of the previous block
	var run Range
	base := t.low &^ blockMask
	for k := t.head; k < len(t.slots); k, base = k+1, base+blockSize {
		s := &t.slots[k]
		if s.block == nil {
			if !open {
				open, run.From = true, s.first
			}
			run.To = s.end
			continue
		}
		i, end := int(max(t.low-base, 0)), int(min(t.next-base, blockSize))
		for i < end {
			from := s.block.next(i, end, true)
			if open && from > i {
				add(run)
				open = false
			}
			if from == end {
				break
			}
			i = s.block.next(from, end, false)
			if !open {
				open, run.From = true, s.block.offset(from)
			}
			run.To = s.block.offset(i-1) + 1
		}
	}
	if open {
		add(run)
	}
	for _, r := range restored {
		out = appendRange(out, Range{max(r.From, t.frontier), r.To})
	}
	return out
}
