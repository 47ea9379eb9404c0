package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/commit/storetest"
)

// place names a partition.
type place struct {
	stream    string
	partition int32
}

// memory is a store that keeps its contract. The pause in a Claim and in a Save lets other calls run.
type memory struct {
	mu    sync.Mutex
	saved map[place]commit.Progress
}

func newMemory() *memory { return &memory{saved: make(map[place]commit.Progress)} }

func (m *memory) Claim(_ context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.saved[place{stream, partition}]
	p.Epoch = max(p.Epoch+1, epoch)
	m.saved[place{stream, partition}] = p
	return &p, nil
}

func (m *memory) Save(_ context.Context, stream string, partition int32, p *commit.Progress) error {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saved[place{stream, partition}].Epoch != p.Epoch {
		return fmt.Errorf("epoch %d: %w", p.Epoch, commit.ErrFenced)
	}
	m.saved[place{stream, partition}] = *p
	return nil
}

// kill ends SaveNumbered in a Save that is not reported: it is stored, or it is not.
func kill(ctx context.Context, s commit.Store, n int) (int, error) {
	var reported lines
	err := storetest.SaveNumbered(ctx, killed{s, &reported, n}, "in", &reported)
	if !errors.Is(err, errKilled) {
		return 0, err
	}
	return int(reported), nil
}

type killed struct {
	commit.Store
	reported *lines
	n        int
}

func (k killed) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	last := int(*k.reported) >= k.n
	if last && k.n%2 == 0 {
		return errKilled
	}
	err := k.Store.Save(ctx, stream, partition, p)
	if err == nil && last {
		return errKilled
	}
	return err
}

type lines int

func (l *lines) Write(b []byte) (int, error) { *l++; return len(b), nil }

var (
	errKilled           = errors.New("killed")
	_         io.Writer = (*lines)(nil)
)

// stalling is a store that does not answer while it is stalled.
type stalling struct {
	commit.Store
	mu      sync.Mutex
	stalled chan struct{} // nil: it answers
}

func (s *stalling) stall() (resume func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = make(chan struct{})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.stalled)
		s.stalled = nil
	}, nil
}

func (s *stalling) wait(ctx context.Context) error {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled == nil {
		return nil
	}
	select {
	case <-stalled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stalling) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, stream, partition, epoch)
}

func (s *stalling) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Store.Save(ctx, stream, partition, p)
}

// env returns an Env whose processes use s.
func env(s commit.Store) storetest.Env {
	st := &stalling{Store: s}
	return storetest.Env{
		Open:  func() (commit.Store, error) { return st, nil },
		Kill:  func(ctx context.Context, n int) (int, error) { return kill(ctx, st, n) },
		Stall: st.stall,
	}
}

func TestGoodStorePasses(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Test(t, env(newMemory())) })
		})
	}
}

func TestCaseWithoutItsFieldIsNotTested(t *testing.T) {
	for _, c := range storetest.Cases() {
		synctest.Test(t, func(t *testing.T) {
			s := newMemory()
			err := c.Run(t.Context(), storetest.Env{Open: func() (commit.Store, error) { return s, nil }})
			if needs := c.Name == "KilledInSave" || c.Name == "CallsEndWhileItStalls"; errors.Is(err, storetest.ErrNotTested) != needs {
				t.Errorf("%s: %v", c.Name, err)
			}
		})
	}
}

// broken is a store in memory that breaks one clause. A hook that is nil breaks nothing.
type broken struct {
	*memory
	claim func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error)
	save  func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error
}

func (b broken) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	if b.claim == nil {
		return b.memory.Claim(ctx, stream, partition, epoch)
	}
	return b.claim(ctx, b.memory, stream, partition, epoch)
}

func (b broken) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	if b.save == nil {
		return b.memory.Save(ctx, stream, partition, p)
	}
	return b.save(ctx, b.memory, stream, partition, p)
}

// changed saves what change makes of a progress.
func changed(change func(p *commit.Progress)) broken {
	return broken{save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		c := *p
		change(&c)
		return m.Save(ctx, stream, partition, &c)
	}}
}

// named takes the partitions with one name for one.
func named(name func(stream string, partition int32) (string, int32)) broken {
	return broken{
		claim: func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
			stream, partition = name(stream, partition)
			return m.Claim(ctx, stream, partition, epoch)
		},
		save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
			stream, partition = name(stream, partition)
			return m.Save(ctx, stream, partition, p)
		},
	}
}

// claimed changes what a Claim returns.
func claimed(change func(p *commit.Progress)) broken {
	return broken{claim: func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
		p, err := m.Claim(ctx, stream, partition, epoch)
		change(p)
		return p, err
	}}
}

// unchecked stores a Save if allowed.
func unchecked(allowed func(saved, p *commit.Progress) bool) broken {
	return broken{save: func(_ context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		time.Sleep(time.Millisecond)
		m.mu.Lock()
		defer m.mu.Unlock()
		last := m.saved[place{stream, partition}]
		if !allowed(&last, p) {
			return commit.ErrFenced
		}
		next := *p
		next.Epoch = last.Epoch
		m.saved[place{stream, partition}] = next
		return nil
	}}
}

// Every clause is broken once, and its case fails.
func TestBrokenStoresFail(t *testing.T) {
	for name, c := range map[string]struct {
		store func() broken
		fails string
	}{
		"progress of nobody":   {func() broken { return claimed(func(p *commit.Progress) { p.Frontier++ }) }, "FirstClaimIsEmpty"},
		"the first epoch is 0": {func() broken { return claimed(func(p *commit.Progress) { p.Epoch-- }) }, "FirstClaimIsEmpty"},
		"ranges are lost":      {func() broken { return changed(func(p *commit.Progress) { p.Ahead = nil }) }, "SavedIsClaimed"},
		"the place is lost":    {func() broken { return changed(func(p *commit.Progress) { p.At = "" }) }, "SavedIsClaimed"},
		"the log is lost":      {func() broken { return changed(func(p *commit.Progress) { p.Log = "" }) }, "SavedIsClaimed"},
		"long progress is cut": {func() broken {
			return changed(func(p *commit.Progress) { p.Ahead = p.Ahead[:min(len(p.Ahead), 10_000)] })
		}, "SavedIsClaimed"},
		"the highest counts": {func() broken {
			return unchecked(func(last, p *commit.Progress) bool { return p.Epoch == last.Epoch && p.Frontier >= last.Frontier })
		}, "LastSaveCounts"},
		"claims drop progress":  {forgetful, "ClaimKeepsProgress"},
		"the epoch asked for":   {asked, "EpochsGrow"},
		"no epoch is asked for": {func() broken { return ignoring() }, "EpochsGrow"},
		"older owners save":     {func() broken { return unchecked(func(_, _ *commit.Progress) bool { return true }) }, "OlderEpochIsRefused"},
		"later epochs save":     {func() broken { return unchecked(func(last, p *commit.Progress) bool { return p.Epoch >= last.Epoch }) }, "OnlyTheClaimedEpochSaves"},
		"a claim is shared":     {shared, "ClaimedDoesNotChange"},
		"case does not count":   {func() broken { return named(func(s string, n int32) (string, int32) { return strings.ToLower(s), n }) }, "PartitionsAreApart"},
		"spaces do not count": {func() broken {
			return named(func(s string, n int32) (string, int32) { return strings.TrimRight(s, " "), n })
		}, "PartitionsAreApart"},
		"long names are cut": {func() broken {
			return named(func(s string, n int32) (string, int32) { return s[:min(len(s), 255)], n })
		}, "PartitionsAreApart"},
		"names run together":      {func() broken { return named(func(s string, n int32) (string, int32) { return fmt.Sprint(s, n), 0 }) }, "PartitionsAreApart"},
		"the number is 16 bits":   {func() broken { return named(func(s string, n int32) (string, int32) { return s, int32(int16(n)) }) }, "PartitionsAreApart"},
		"one fails, all fail":     {contagious, "SavesAtOnce"},
		"claims read, then write": {readThenWrite, "ClaimsAtOnce"},
		"saves check, then write": {checkThenWrite, "ClaimSeesTheLastSave"},
		"a cut save is half":      {halfCut, "EndedContextEndsCalls"},
		"ctx is ignored":          {deaf, "EndedContextEndsCalls"},
		"saved later":             {later, "KilledInSave"},
	} {
		t.Run(name, func(t *testing.T) {
			each, found := caseOf(c.fails)
			if !found {
				t.Fatalf("there is no case %s", c.fails)
			}
			synctest.Test(t, func(t *testing.T) {
				b := c.store()
				b.memory = newMemory()
				err := each.Run(t.Context(), env(b))
				if err == nil || errors.Is(err, storetest.ErrNotTested) {
					t.Errorf("%s: %v, want an error", each.Name, err)
				}
				time.Sleep(2 * time.Hour) // calls that are given up end
			})
		})
	}
}

// These break what only processes of their own, or a store that hangs, can show.
func TestBrokenProcessesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := caseOf("ProcessesShareTheStore")
		err := c.Run(t.Context(), storetest.Env{Open: func() (commit.Store, error) { return newMemory(), nil }})
		if err == nil {
			t.Error("processes that share nothing passed")
		}
		c, _ = caseOf("CallsEndWhileItStalls")
		e := env(newMemory())
		open := e.Open
		e.Open = func() (commit.Store, error) {
			s, err := open()
			return uncancelled{s}, err
		}
		resume := func() {}
		stall := e.Stall
		e.Stall = func() (func(), error) {
			var err error
			resume, err = stall()
			return func() {}, err
		}
		if err := c.Run(t.Context(), e); err == nil || !strings.Contains(err.Error(), "has not returned") {
			t.Errorf("a store that ignores ctx: %v", err)
		}
		resume()
		time.Sleep(time.Hour) // calls that were given up end
	})
}

// uncancelled ignores the end of ctx.
type uncancelled struct{ commit.Store }

func (u uncancelled) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	return u.Store.Claim(context.WithoutCancel(ctx), stream, partition, epoch)
}

func (u uncancelled) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	return u.Store.Save(context.WithoutCancel(ctx), stream, partition, p)
}

func caseOf(name string) (storetest.Case, bool) {
	for _, c := range storetest.Cases() {
		if c.Name == name {
			return c, true
		}
	}
	return storetest.Case{}, false
}

func forgetful() broken {
	return broken{claim: func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
		p, err := m.Claim(ctx, stream, partition, epoch)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.saved[place{stream, partition}] = commit.Progress{Epoch: p.Epoch}
		return p, err
	}}
}

// asked claims the epoch that was asked for, unless it is 0.
func asked() broken {
	return broken{claim: func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
		p, err := m.Claim(ctx, stream, partition, epoch)
		m.mu.Lock()
		defer m.mu.Unlock()
		if epoch != 0 {
			p.Epoch = epoch
		}
		m.saved[place{stream, partition}] = *p
		return p, err
	}}
}

func ignoring() broken {
	return broken{claim: func(ctx context.Context, m *memory, stream string, partition int32, _ int64) (*commit.Progress, error) {
		return m.Claim(ctx, stream, partition, 0)
	}}
}

// shared returns the same struct to every Claim.
func shared() broken {
	var p commit.Progress
	return broken{claim: func(ctx context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
		got, err := m.Claim(ctx, stream, partition, epoch)
		p = *got
		return &p, err
	}}
}

// contagious refuses each Save that comes beside one of an older owner.
func contagious() broken {
	var mu sync.Mutex
	var refused time.Time
	return broken{save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		err := m.Save(ctx, stream, partition, p)
		mu.Lock()
		if err != nil {
			refused = time.Now()
		}
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if time.Since(refused) <= time.Millisecond {
			return commit.ErrFenced
		}
		return err
	}}
}

func readThenWrite() broken {
	return broken{claim: func(_ context.Context, m *memory, stream string, partition int32, epoch int64) (*commit.Progress, error) {
		m.mu.Lock()
		p := m.saved[place{stream, partition}]
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
		p.Epoch = max(p.Epoch+1, epoch)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.saved[place{stream, partition}] = p
		return &p, nil
	}}
}

func checkThenWrite() broken {
	return broken{save: func(_ context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		m.mu.Lock()
		last := m.saved[place{stream, partition}]
		m.mu.Unlock()
		if last.Epoch != p.Epoch {
			return commit.ErrFenced
		}
		time.Sleep(time.Millisecond)
		m.mu.Lock()
		defer m.mu.Unlock()
		next := *p
		next.Epoch = m.saved[place{stream, partition}].Epoch
		m.saved[place{stream, partition}] = next
		return nil
	}}
}

func halfCut() broken {
	return broken{save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		c := *p
		if ctx.Err() != nil {
			c.Ahead = nil
		}
		return errors.Join(m.Save(ctx, stream, partition, &c), ctx.Err())
	}}
}

func deaf() broken {
	return broken{save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		if ctx.Err() != nil {
			time.Sleep(time.Hour)
		}
		return m.Save(ctx, stream, partition, p)
	}}
}

// later stores a Save with the next one.
func later() broken {
	var mu sync.Mutex
	var held *commit.Progress
	return broken{save: func(ctx context.Context, m *memory, stream string, partition int32, p *commit.Progress) error {
		mu.Lock()
		defer mu.Unlock()
		last := held
		held = p
		if last == nil || last.Epoch != p.Epoch {
			return nil
		}
		return m.Save(ctx, stream, partition, last)
	}}
}
