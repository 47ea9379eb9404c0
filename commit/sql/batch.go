package sql

import (
	"context"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
)

// gather is how long the first Save of a batch waits for others. Commits of a pipeline come together, on a tick, but not at the
// same instant.
const gather = 5 * time.Millisecond

// batch is the Saves of one transaction. It runs in a goroutine of its own, since it must outlive the ctx of any of them.
type batch struct {
	cancel  context.CancelCauseFunc // ends its transaction
	over    chan struct{}           // closed when each save has its err
	saves   []*save                 // guarded by Store.mu
	waiting int                     // callers that wait for it; guarded by Store.mu
}

// join adds a save to the batch that gathers, and waits for its end, or for that of ctx. The last caller that leaves ends the
// transaction and waits for it, so that no goroutine outlives the calls.
func (s *Store) join(ctx context.Context, sv *save) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b := s.add(ctx, sv)
	select {
	case <-b.over:
		return sv.err
	case <-ctx.Done():
	}
	if s.leave(b, sv) {
		b.cancel(context.Cause(ctx))
		<-b.over
	}
	return context.Cause(ctx)
}

func (s *Store) add(ctx context.Context, sv *save) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		b := &batch{over: make(chan struct{})}
		var running context.Context
		running, b.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		s.next = b
		go s.run(running, b)
	}
	b := s.next
	b.saves = append(b.saves, sv)
	b.waiting++
	return b
}

// leave reports whether nobody waits for the batch any more; then nobody can join it either. A save that has left is not stored,
// unless the transaction has begun.
func (s *Store) leave(b *batch, sv *save) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv.gone = true
	b.waiting--
	if b.waiting == 0 && s.next == b {
		s.next = nil
	}
	return b.waiting == 0
}

// run gathers saves while others may come, and stores them.
func (s *Store) run(ctx context.Context, b *batch) {
	defer close(b.over)
	defer b.cancel(nil)
	err := pause.For(ctx, gather)
	if err == nil {
		err = enter(ctx, s.saves)
	}
	saves := s.take(b)
	if err != nil {
		for _, sv := range saves {
			sv.err = err
		}
		return
	}
	defer func() { <-s.saves }()
	if len(saves) > 0 {
		s.store(ctx, saves)
	}
}

// take ends the gathering, and returns the saves whose callers wait.
func (s *Store) take(b *batch) []*save {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == b {
		s.next = nil
	}
	var saves []*save
	for _, sv := range b.saves {
		if !sv.gone {
			saves = append(saves, sv)
		}
	}
	return saves
}
