package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// accept accepts the next partition or fails the test.
func accept(t *testing.T, src *memory.Source) source.Partition {
	t.Helper()
	p, err := src.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fetch fetches a batch or fails the test.
func fetch(t *testing.T, p source.Partition) source.Batch {
	t.Helper()
	b := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	if err := p.Fetch(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// save commits progress or fails the test.
func save(t *testing.T, p source.Partition, frontier int64, ahead ...commit.Range) commit.Stored {
	t.Helper()
	stored, err := p.Commit(t.Context(), progress(p, frontier, ahead...))
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func progress(p source.Partition, frontier int64, ahead ...commit.Range) *commit.Progress {
	return &commit.Progress{Log: p.Restored().Log, Epoch: p.ID().Epoch, Frontier: frontier, Ahead: ahead}
}

func fill(log *memory.Log, n int) {
	for p := range int32(log.Partitions()) {
		for i := range n {
			log.Append(p, keystrand.Message{Value: fmt.Append(nil, i)})
		}
	}
}

func TestAcceptReturnsAllConfigurationErrors(t *testing.T) {
	src := memory.NewSource(memory.Config{LeaveTimeout: -1, CommitLimit: -1})
	_, err := src.Accept(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"LeaveTimeout", "CommitLimit", "has no log"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not contain %q", err, want)
		}
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

// consumer accepts partitions, and releases those that are revoked or lost.
type consumer struct {
	src  *memory.Source
	mu   sync.Mutex
	held map[int32]int64 // epochs by partition
}

func (c *consumer) run(ctx context.Context, wrong func(string)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		p, err := c.src.Accept(ctx)
		if err != nil {
			return
		}
		id := p.ID()
		c.mu.Lock()
		if _, twice := c.held[id.Partition]; twice {
			wrong(fmt.Sprintf("accepted %v while it is held", id))
		}
		c.held[id.Partition] = id.Epoch
		c.mu.Unlock()
		wg.Go(func() {
			select {
			case <-p.Leaving():
			case <-ctx.Done():
			}
			c.mu.Lock()
			delete(c.held, id.Partition)
			c.mu.Unlock()
			if err := p.Release(context.WithoutCancel(ctx)); err != nil {
				wrong(err.Error())
			}
		})
	}
}

// holds returns what the consumer holds, sorted.
func (c *consumer) holds() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.held))
}

func TestGroupAssignsPartitionsEvenlyAndMovesFew(t *testing.T) { // seed 39
	synctest.Test(t, func(t *testing.T) {
		const partitions = 8
		log := memory.NewLog("comments", partitions)
		wrong := func(what string) { t.Error(what) }
		var members []*consumer
		var cancels []context.CancelFunc
		var wg sync.WaitGroup
		join := func() {
			c := &consumer{src: memory.NewSource(memory.Config{}, log), held: map[int32]int64{}}
			ctx, cancel := context.WithCancel(t.Context())
			members, cancels = append(members, c), append(cancels, cancel)
			wg.Go(func() {
				c.run(ctx, wrong)
				if err := c.src.Close(); err != nil {
					wrong(err.Error())
				}
			})
		}
		for n := 1; n <= 10; n++ {
			before := make([][]int32, len(members))
			for i, m := range members {
				before[i] = m.holds()
			}
			join()
			synctest.Wait()
			var all []int32
			for i, m := range members {
				held := m.holds()
				all = append(all, held...)
				if len(held) < partitions/n || len(held) > (partitions+n-1)/n {
					t.Errorf("%d members: member %d holds %v", n, i, held)
				}
				if i < len(before) {
					for _, p := range held {
						if !slices.Contains(before[i], p) {
							t.Errorf("%d members: partition %d moved to member %d, which was there before", n, p, i)
						}
					}
				}
			}
			slices.Sort(all)
			if !slices.Equal(all, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
				t.Errorf("%d members hold %v, want each partition once", n, all)
			}
		}
		for i := range members {
			cancels[i]()
			synctest.Wait()
		}
		wg.Wait()
	})
}

func TestLeaveTimeoutLosesThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("comments", 1)
		fill(log, 3)
		a := memory.NewSource(memory.Config{LeaveTimeout: time.Minute}, log)
		p := accept(t, a)
		for range 2 { // the second time changes nothing
			if !a.Revoke("comments", 0) {
				t.Error("Revoke says that the partition is not owned")
			}
		}
		start := time.Now()
		if leave := <-p.Leaving(); leave.Lost || !leave.Deadline.Equal(start.Add(time.Minute)) {
			t.Errorf("revoked with %+v", leave)
		}
		if leave := <-p.Leaving(); !leave.Lost || time.Since(start) != time.Minute {
			t.Errorf("after %v: %+v, want lost after a minute", time.Since(start), leave)
		}
		if _, err := p.Commit(t.Context(), progress(p, 0)); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit after the loss: %v, want ErrFenced", err)
		}
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		again := accept(t, a)
		if again.ID().Epoch != 2 {
			t.Errorf("accepted %v, want epoch 2", again.ID())
		}
		if err := again.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitRejectsInvalidProgress(t *testing.T) {
	log := memory.NewLog("comments", 1)
	fill(log, 10)
	p := accept(t, memory.NewSource(memory.Config{}, log))
	fetch(t, p)
	save(t, p, 5)
	stranger, future := progress(p, 6), progress(p, 6)
	stranger.Log, future.Epoch = "another", 7
	for what, bad := range map[string]*commit.Progress{
		"goes back": progress(p, 4), "above the position": progress(p, 11), "another log": stranger, "another epoch": future,
	} {
		if _, err := p.Commit(t.Context(), bad); err == nil || errors.Is(err, commit.ErrFenced) {
			t.Errorf("%s: error %v, want an error other than ErrFenced", what, err)
		}
	}
	if got := log.Group("").Committed(0); got == nil || got.Frontier != 5 {
		t.Errorf("committed is %v, want frontier 5", got)
	}
	if err := p.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := p.Commit(t.Context(), progress(p, 7)); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("after Release: %v, want ErrFenced", err)
	}
	if got := log.Group("").Committed(0); got == nil || got.Frontier != 5 {
		t.Errorf("after Release committed is %v, want frontier 5", got)
	}
	if err := p.Release(t.Context()); err == nil {
		t.Error("the second Release returned nil")
	}
}

func TestCommitReturnsTheErrorsOfItsHooks(t *testing.T) {
	refused, unknown := errors.New("refused"), errors.New("the reply is lost")
	var before, after error
	log := memory.NewLog("comments", 1)
	fill(log, 10)
	p := accept(t, memory.NewSource(memory.Config{
		BeforeCommit: func(context.Context, source.ID, *commit.Progress) error { return before },
		AfterCommit:  func(context.Context, source.ID, *commit.Progress) error { return after },
	}, log))
	fetch(t, p)
	before = refused
	if _, err := p.Commit(t.Context(), progress(p, 3)); !errors.Is(err, refused) {
		t.Errorf("commit: %v, want %v", err, refused)
	}
	if got := log.Group("").Committed(0); got != nil {
		t.Errorf("a refused commit was stored: %v", got)
	}
	before, after = nil, unknown
	if _, err := p.Commit(t.Context(), progress(p, 3)); !errors.Is(err, unknown) {
		t.Errorf("commit: %v, want %v", err, unknown)
	}
	if got := log.Group("").Committed(0); got == nil || got.Frontier != 3 {
		t.Errorf("committed is %v, want frontier 3", got)
	}
}

func TestBatchEndsBeforeAFetchFault(t *testing.T) {
	corrupt := errors.New("corrupt")
	fault := func(_ source.ID, offset int64) error {
		if offset == 4 {
			return corrupt
		}
		return nil
	}
	kept := memory.NewLog("comments", 1)
	fill(kept, 10)
	made := memory.Generate("comments", 1, 10, func(int32, int64, *keystrand.Message) {})
	for name, log := range map[string]*memory.Log{"kept": kept, "made": made} {
		p := accept(t, memory.NewSource(memory.Config{FetchFault: fault}, log))
		if b := fetch(t, p); len(b.Messages) != 4 || b.Next != 4 {
			t.Errorf("%s: the first batch has %d messages and Next %d, want 4 and 4", name, len(b.Messages), b.Next)
		}
		for range 2 {
			b := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
			if err := p.Fetch(t.Context(), &b); !errors.Is(err, corrupt) || !strings.Contains(err.Error(), "offset 4") {
				t.Errorf("%s: fetch: %v, want %v at offset 4", name, err, corrupt)
			}
		}
	}
}

func TestStoredCountsTheReplaysCausedByTheCommitLimit(t *testing.T) {
	log := memory.NewLog("comments", 1)
	fill(log, 1000)
	var ahead []commit.Range
	for o := int64(7); o < 900; o += 7 + o%5 {
		ahead = append(ahead, commit.Range{From: o, To: o + 2})
	}
	for _, limit := range []int{0, 10, 60, 100, 100_000} {
		src := memory.NewSource(memory.Config{CommitLimit: limit, Group: fmt.Sprint(limit)}, log)
		p := accept(t, src)
		for next := int64(0); next < 1000; {
			next = fetch(t, p).Next
		}
		stored := save(t, p, 5, ahead...)
		src.Crash()
		r := accept(t, memory.NewSource(memory.Config{Group: fmt.Sprint(limit)}, log)).Restored()
		if r.Frontier != 5 || !slices.Equal(r.Ahead, ahead[:len(r.Ahead)]) {
			t.Errorf("limit %d: restored is %v", limit, r)
		}
		if want := int64(2 * (len(ahead) - len(r.Ahead))); stored.Replays != want {
			t.Errorf("limit %d: Stored.Replays = %d, want %d", limit, stored.Replays, want)
		}
	}
}

func TestCommitStoresWhatAnEarlierOneHasStored(t *testing.T) {
	log := memory.NewLog("comments", 1)
	fill(log, 1000)
	src := memory.NewSource(memory.Config{CommitLimit: 60}, log)
	p := accept(t, src)
	for next := int64(0); next < 1000; {
		next = fetch(t, p).Next
	}
	first := commit.Range{From: 500, To: 900}
	if stored := save(t, p, 5, first); stored.Replays != 0 {
		t.Fatalf("stored %+v", stored)
	}
	var more []commit.Range
	for o := int64(7); o < 490; o += 3 {
		more = append(more, commit.Range{From: o, To: o + 1})
	}
	if stored := save(t, p, 6, append(more, first)...); stored.Replays != int64(len(more)) {
		t.Errorf("stored %+v, want %d replays", stored, len(more))
	}
	src.Crash()
	if r := accept(t, memory.NewSource(memory.Config{}, log)).Restored(); r.Frontier != 6 || !slices.Equal(r.Ahead, []commit.Range{first}) {
		t.Errorf("restored is %v, want frontier 6 and %v", r, first)
	}
}

func TestDeletedMessagesMoveThePosition(t *testing.T) {
	log := memory.NewLog("comments", 1)
	fill(log, 10)
	src := memory.NewSource(memory.Config{}, log)
	p := accept(t, src)
	log.Delete(0, 4)
	if b := fetch(t, p); len(b.Messages) != 6 || b.Messages[0].Offset != 4 || string(b.Messages[0].Value) != "4" {
		t.Errorf("%d messages came, the first %v, want 6 from offset 4", len(b.Messages), b.Messages[0])
	}
	save(t, p, 2, commit.Range{From: 3, To: 6}, commit.Range{From: 8, To: 9})
	src.Crash()
	src = memory.NewSource(memory.Config{}, log)
	p = accept(t, src)
	if r := p.Restored(); r.Frontier != 6 || !slices.Equal(r.Ahead, []commit.Range{{From: 8, To: 9}}) {
		t.Errorf("restored is %v, want frontier 6 and [8,9)", r)
	}
	log.Delete(0, 100)
	if b := fetch(t, p); len(b.Messages) != 0 || b.Next != 10 {
		t.Errorf("after everything was deleted: %v, want a move to 10", b)
	}
	if start, end := log.Bounds(0); start != 10 || end != 10 {
		t.Errorf("bounds are %d and %d, want 10 and 10", start, end)
	}
}

func TestGroupsAndLogsAreIndependent(t *testing.T) {
	a, b := memory.NewLog("a", 1), memory.NewLog("b", 2)
	fill(a, 1)
	fill(b, 2)
	one, two := memory.NewSource(memory.Config{Group: "one"}, a, b), memory.NewSource(memory.Config{Group: "two"}, a, b)
	for _, src := range []*memory.Source{one, two} {
		for range 3 {
			p := accept(t, src)
			save(t, p, fetch(t, p).Next)
		}
	}
	a.Close()
	b.Close()
	one.Crash()
	// Group one has committed all messages, so Accept of a new member returns io.EOF.
	next := memory.NewSource(memory.Config{Group: "one"}, a, b)
	if p, err := next.Accept(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("accept: %v, %v, want io.EOF", p, err)
	}
	if g := b.Group("two"); g.Free(0) || g.Members() != 1 || g.Epoch(1) != 1 {
		t.Errorf("group two: free %t, %d members, epoch %d", g.Free(0), g.Members(), g.Epoch(1))
	}
}

func TestLogPanicsOnMisuse(t *testing.T) {
	closed := memory.NewLog("closed", 1)
	closed.Close()
	made := memory.Generate("made", 1, 3, func(int32, int64, *keystrand.Message) {})
	full := memory.NewLog("full", 1)
	full.Append(0, keystrand.Message{}, keystrand.Message{})
	for name, misuse := range map[string]func(){
		"no partitions":  func() { memory.NewLog("x", 0) },
		"append, closed": func() { closed.Append(0, keystrand.Message{}) },
		"append, made":   func() { made.Append(0, keystrand.Message{}) },
		"recreate, made": func() { made.Recreate() },
		"below the end":  func() { full.AppendAt(0, 1, keystrand.Message{}) },
		"skip backwards": func() { full.Skip(0, -1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			misuse()
		})
	}
}

func TestGeneratedLogEnds(t *testing.T) {
	const n = 1000
	log := memory.Generate("made", 2, n, func(partition int32, offset int64, m *keystrand.Message) {
		m.Value = fmt.Appendf(nil, "%d/%d", partition, offset)
	})
	src := memory.NewSource(memory.Config{}, log)
	for range 2 {
		p := accept(t, src)
		for next := int64(0); next < n; {
			b := fetch(t, p)
			for i := range b.Messages {
				m := &b.Messages[i]
				if want := fmt.Sprintf("%d/%d", p.ID().Partition, next); string(m.Value) != want || m.Offset != next {
					t.Fatalf("offset %d has %q, want offset %d with %q", m.Offset, m.Value, next, want)
				}
				next++
			}
		}
		b := source.Batch{MaxMessages: 1, MaxBytes: 1}
		if err := p.Fetch(t.Context(), &b); !errors.Is(err, io.EOF) {
			t.Errorf("fetch at the end: %v, want io.EOF", err)
		}
		save(t, p, n)
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := src.Accept(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("accept: %v, want io.EOF", err)
	}
}
