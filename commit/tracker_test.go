package commit_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// Worker A holds message 0 and has finished nothing yet; worker B has finished 1 to 4.
func TestMinimumOfLastFinishedMessagesLosesData(t *testing.T) { // seed 31
	tr := newTracker(t, &commit.Progress{Frontier: 1000}, upTo(1000, 1006), 1006)
	running := map[string]int64{"A": 1000, "B": 1005}
	lastFinished := map[string]int64{}
	for n := int64(1); n <= 4; n++ {
		lastFinished["B"] = 1000 + n
		if err := tr.Settle([]int64{n}); err != nil {
			t.Fatal(err)
		}
	}

	minimum := int64(math.MaxInt64) // the wrong rule: the minimum of each worker's last finished message, plus one
	for _, o := range lastFinished {
		minimum = min(minimum, o+1)
	}
	if minimum <= running["A"] {
		t.Fatalf("this history no longer shows the data loss: minimum %d, message %d is running", minimum, running["A"])
	}
	p := tr.Progress()
	for worker, o := range running {
		if p.Settled(o) {
			t.Errorf("progress %v passes offset %d, which worker %s is handling", p, o, worker)
		}
	}
	if p.Frontier != 1000 || !slices.Equal(p.Ahead, []commit.Range{{From: 1001, To: 1005}}) {
		t.Errorf("progress = %v, want frontier 1000 and 1001 to 1004 ahead", p)
	}
}

// With nothing pending the frontier is the position: control records and compacted tails must not leave a lag.
func TestTrackerFrontierFollowsPositionWhenNothingIsPending(t *testing.T) {
	tr := newTracker(t, &commit.Progress{Frontier: 5}, nil, 9)
	if s := tr.State(); s.Frontier != 9 || s.Position != 9 || s.Oldest != -1 {
		t.Errorf("after Advance: %+v", s)
	}
	if _, _, err := tr.Track([]int64{12}, 20); err != nil {
		t.Fatal(err)
	}
	if s := tr.State(); s.Frontier != 12 || s.Position != 20 || s.Oldest != 0 {
		t.Errorf("after Track: %+v", s)
	}
	if err := tr.Settle([]int64{0}); err != nil {
		t.Fatal(err)
	}
	if s := tr.State(); s.Frontier != 20 || s.Oldest != -1 {
		t.Errorf("after Settle: %+v", s)
	}
}

// A batch out of order leaves the tracker unchanged, and a bad number does not affect the others of its call.
func TestTrackerReportsMisuse(t *testing.T) {
	tr := newTracker(t, &commit.Progress{Frontier: 10}, []int64{10, 11}, 12)
	before := tr.State()
	for _, c := range []struct {
		offsets []int64
		next    int64
	}{
		{[]int64{11}, 13},                       // below the position
		{[]int64{12, 14, 14}, 20},               // duplicate
		{[]int64{12, 15, 14}, 20},               // descending
		{[]int64{12, 13}, 13},                   // next not above the last
		{nil, 11},                               // position moves back
		{[]int64{math.MaxInt64}, math.MaxInt64}, // no position can be above it
		{[]int64{math.MinInt64, math.MaxInt64}, math.MaxInt64}, // the difference overflows
		{[]int64{12, math.MinInt64, math.MaxInt64 - 1}, 13},    // the difference overflows
	} {
		if _, _, err := tr.Track(c.offsets, c.next); !errors.Is(err, commit.ErrOrder) {
			t.Errorf("Track(%v, %d) = %v, want ErrOrder", c.offsets, c.next, err)
		}
	}
	if got := tr.State(); got != before {
		t.Errorf("state after refused batches %+v, want %+v", got, before)
	}
	if err := tr.Settle([]int64{-1, 1, 2, math.MaxInt64, 1, math.MinInt64}); !errors.Is(err, commit.ErrNotPending) {
		t.Errorf("Settle = %v, want ErrNotPending", err)
	}
	if p := tr.Progress(); p.Frontier != 10 || !slices.Equal(p.Ahead, []commit.Range{{From: 11, To: 12}}) {
		t.Errorf("progress = %v, want 11 settled", p)
	}
	if changed := tr.State().Changed; tr.Settle([]int64{1}) == nil || tr.State().Changed != changed {
		t.Errorf("a refused Settle changed the state")
	}
}

// Offsets of packed ids jump by more than 32 bits, and the extremes of int64 are valid offsets.
func TestTrackerAcceptsExtremeOffsets(t *testing.T) {
	offsets := []int64{math.MinInt64, -5, 0, 1, 1 << 40, 1<<40 + 1, math.MaxInt64 - 1}
	tr := newTracker(t, &commit.Progress{Frontier: math.MinInt64}, offsets, math.MaxInt64)
	for n, want := range offsets {
		if got, ok := tr.Offset(int64(n)); !ok || got != want {
			t.Errorf("Offset(%d) = %d, %v, want %d", n, got, ok, want)
		}
	}
	if err := tr.Settle([]int64{1, 2, 4, 6}); err != nil {
		t.Fatal(err)
	}
	want := []commit.Range{{From: -5, To: 1}, {From: 1 << 40, To: 1<<40 + 1}, {From: math.MaxInt64 - 1, To: math.MaxInt64}}
	if p := tr.Progress(); p.Frontier != math.MinInt64 || !slices.Equal(p.Ahead, want) {
		t.Errorf("progress = %v, want %v", p, want)
	}
}

// Ranges settled by an earlier owner stay in every snapshot until the frontier has passed them, even if two owners in a
// row die before they have fetched that far. Ranges whose messages were compacted away do not hold the frontier up.
func TestTrackerKeepsRestoredRangesUntilPassed(t *testing.T) {
	p := &commit.Progress{Log: "log", Epoch: 4, Frontier: 10, Ahead: []commit.Range{{From: 12, To: 20}, {From: 30, To: 40}}}
	for range 3 {
		tr := newTracker(t, p, []int64{10, 11}, 12)
		if got := tr.Progress(); got.Frontier != 10 || got.Log != "log" || got.Epoch != 4 || !slices.Equal(got.Ahead, p.Ahead) {
			t.Fatalf("progress = %v, want %v", got, p)
		}
		p = tr.Progress()
	}
	tr := newTracker(t, p, []int64{10, 11}, 12)
	if err := tr.Settle([]int64{0, 1}); err != nil {
		t.Fatal(err)
	}
	if err := tr.Advance(25); err != nil { // 12 to 24 are compacted away
		t.Fatal(err)
	}
	_, settled, err := tr.Track([]int64{29, 31, 45}, 46)
	if err != nil || !slices.Equal(settled, []bool{false, true, false}) {
		t.Fatalf("Track = %v, %v", settled, err)
	}
	if got := tr.Progress(); got.Frontier != 29 || !slices.Equal(got.Ahead, []commit.Range{{From: 30, To: 40}}) {
		t.Errorf("progress = %v", got)
	}
	if err := tr.Settle([]int64{2, 4}); err != nil {
		t.Fatal(err)
	}
	if got := tr.Progress(); got.Frontier != 46 || got.Ahead != nil {
		t.Errorf("progress = %v, want 46 and nothing ahead", got)
	}
}

// The tracker sorts restored ranges that are out of order (a store edited by hand) and leaves the caller's slice
// unchanged.
func TestTrackerSortsRestoredRanges(t *testing.T) {
	given := []commit.Range{{From: 30, To: 35}, {From: 5, To: 12}, {From: 33, To: 40}, {From: 50, To: 50}, {From: 60, To: 55}, {From: 40, To: 41}}
	kept := slices.Clone(given)
	tr := commit.NewTracker(&commit.Progress{Frontier: 10, Ahead: given})
	want := []commit.Range{{From: 10, To: 12}, {From: 30, To: 41}}
	if got := tr.Progress().Ahead; !slices.Equal(got, want) {
		t.Errorf("ahead = %v, want %v", got, want)
	}
	if !slices.Equal(given, kept) {
		t.Errorf("the caller's ranges changed to %v", given)
	}
	if s := commit.NewTracker(nil).State(); s != (commit.State{Oldest: -1}) {
		t.Errorf("NewTracker(nil): %+v", s)
	}
}

// Snapshots are taken while others settle. Each must hold all messages settled before the call, else a restart repeats
// too much. None may hold a message whose Settle had not begun when it returned, else a restart loses it. Run with
// -race too.
func TestProgressIsOneSnapshotWhileOthersSettle(t *testing.T) {
	const messages, settlers, batch = 60_000, 4, 16
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	tr := commit.NewTracker(nil)
	offset := func(n int64) int64 { return n + n/7 } // a hole behind every seventh message
	var begun, settled [messages]atomic.Bool
	work := make(chan []int64, 64)
	var wg sync.WaitGroup
	wg.Go(func() { // fetches, and hands out each window in random order
		defer close(work)
		random := rand.New(rand.NewPCG(seed, 1))
		for first := int64(0); first < messages; first += 2000 {
			numbers := upTo(first, first+2000)
			offsets := make([]int64, len(numbers))
			for i, n := range numbers {
				offsets[i] = offset(n)
			}
			if _, _, err := tr.Track(offsets, offset(first+2000)); err != nil {
				t.Error(err)
				return
			}
			random.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
			for part := range slices.Chunk(numbers, batch) {
				work <- part
			}
		}
	})
	for range settlers {
		wg.Go(func() {
			for numbers := range work {
				for _, n := range numbers {
					begun[n].Store(true)
				}
				if err := tr.Settle(numbers); err != nil {
					t.Error(err)
				}
				for _, n := range numbers {
					settled[n].Store(true)
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()

	before := make([]bool, messages)
	for last := false; !last; {
		select {
		case <-over:
			last = true
		default:
		}
		for n := range before {
			before[n] = settled[n].Load()
		}
		p := tr.Progress()
		k := 0
		for n := range int64(messages) {
			o := offset(n)
			for k < len(p.Ahead) && p.Ahead[k].To <= o {
				k++
			}
			claimed := o < p.Frontier || (k < len(p.Ahead) && p.Ahead[k].From <= o)
			if claimed && !begun[n].Load() {
				t.Fatalf("Progress holds offset %d, which is not settled", o)
			}
			if before[n] && !claimed {
				t.Fatalf("Progress (frontier %d) lacks offset %d, settled before the call", p.Frontier, o)
			}
		}
	}
	if s := tr.State(); s.Frontier != offset(messages) || s.Pending != 0 {
		t.Errorf("final state = %+v", s)
	}
}

// Settles in order and at random within a window, with and without holes.
func TestTrackerDoesNotAllocateInSteadyState(t *testing.T) {
	for name, step := range map[string]int64{"plain log": 1, "compacted log": 3} {
		t.Run(name, func(t *testing.T) {
			const batch, lag = 256, 40 // batches
			tr := commit.NewTracker(nil)
			random := rand.New(rand.NewPCG(1, 2))
			offsets, position := make([]int64, batch), int64(0)
			var open [lag][batch]int64
			k := 0
			round := func() {
				for i := range offsets {
					offsets[i] = position
					position += step
				}
				if k >= lag {
					if err := tr.Settle(open[k%lag][:]); err != nil {
						t.Fatal(err)
					}
				}
				first, _, err := tr.Track(offsets, position)
				if err != nil {
					t.Fatal(err)
				}
				numbers := &open[k%lag]
				for i := range numbers {
					numbers[i] = first + int64(i)
				}
				other := &open[random.IntN(min(k+1, lag))]
				for i := range numbers { // a message may be settled up to two windows late
					numbers[i], other[i] = other[i], numbers[i]
				}
				k++
			}
			for range 2000 {
				round()
			}
			if n := testing.AllocsPerRun(500, round); n != 0 {
				t.Errorf("%v allocations a batch, want 0", n)
			}
		})
	}
}
