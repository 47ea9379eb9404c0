package commit

import (
	"reflect"
	"testing"
)

// One message is stuck, and ten million behind it are settled: the tracker keeps only the directory.
func TestLongSettledStretchNeedsOnlyTheDirectory(t *testing.T) {
	const messages, batch = 10_000_000, 1000
	tr := NewTracker(nil)
	offsets, numbers := make([]int64, batch), make([]int64, batch)
	for first := int64(0); first < messages; first += batch {
		for i := range offsets {
			offsets[i] = 3 * (first + int64(i)) // a compacted log: a hole behind every message
			numbers[i] = first + int64(i)
		}
		if _, _, err := tr.Track(offsets, 3*(first+batch)); err != nil {
			t.Fatal(err)
		}
		settled := numbers
		if first == 0 {
			settled = numbers[1:] // message 0 is the stuck one
		}
		if err := tr.Settle(settled); err != nil {
			t.Fatal(err)
		}
	}
	blocks := 0
	for _, s := range tr.slots[tr.head:] {
		if s.block != nil {
			blocks++
		}
	}
	directory := cap(tr.slots) * int(reflect.TypeFor[slot]().Size())
	t.Logf("%d messages: directory %d bytes, %d blocks, %d spare blocks", messages, directory, blocks, len(tr.free))
	if directory > 128<<10 || blocks > 2 || len(tr.free) > maxFree {
		t.Errorf("directory %d bytes, %d blocks, %d spare blocks, want at most 128 KiB, 2 and %d", directory, blocks, len(tr.free), maxFree)
	}
	p := tr.Progress()
	if p.Frontier != 0 || len(p.Ahead) != 1 || p.Ahead[0] != (Range{3, 3*(messages-1) + 1}) {
		t.Errorf("progress = %v", p)
	}
}
