package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/keystrand/keystrand/source"
)

// member is one source with the goroutine that accepts from it. A partition that is asked back or lost is released at
// once, unless the case has taken it by hold.
type member struct {
	h      *harness
	number int
	src    source.Source
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when Accept, and then Stop, have returned
	wg     sync.WaitGroup

	crashed bool // guarded by the harness's mu

	mu   sync.Mutex
	err  error // of Accept
	left bool
}

var errEnough = errors.New("sourcetest: the member leaves")

func newMember(h *harness, number int, src source.Source) *member {
	return &member{h: h, number: number, src: src, ended: make(chan struct{})}
}

// start owns: one goroutine that accepts, and one for each holding.
// Neither ends with ctx: a case that hangs still lets its members leave in order.
func (m *member) start(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	m.cancel = cancel
	m.wg.Go(func() {
		defer close(m.ended)
		for {
			p, err := m.src.Accept(ctx)
			if err != nil {
				m.mu.Lock()
				m.err = err
				m.mu.Unlock()
				if s, ok := m.src.(source.Stopper); ok && !errors.Is(err, io.EOF) {
					s.Stop() // from the goroutine of Accept, as the contract says
				}
				return
			}
			m.accepted(ctx, p)
		}
	})
}

func (m *member) accepted(ctx context.Context, p source.Partition) {
	n := newHolding(m, p)
	m.h.accepted(n)
	m.wg.Go(func() { n.watch(context.WithoutCancel(ctx)) })
}

// held returns everything the member has accepted, released or not.
func (m *member) held() []*holding {
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	var held []*holding
	for _, n := range m.h.all {
		if n.m == m {
			held = append(held, n)
		}
	}
	return held
}

// hold waits until the member holds the partition, and takes it: from now on the case releases it.
func (m *member) hold(ctx context.Context, partition int32) (*holding, error) {
	n, err := m.h.find(ctx, m.ended, func(n *holding) bool { return n.m == m && n.part.ID().Partition == partition })
	if err != nil {
		return nil, fmt.Errorf("member %d waits for %s/%d: %w", m.number, m.h.env.Stream, partition,
			errors.Join(err, m.acceptError()))
	}
	return n, nil
}

// holdAll is hold for every partition, in the order of their numbers.
func (m *member) holdAll(ctx context.Context) ([]*holding, error) {
	all := make([]*holding, m.h.env.Partitions)
	for p := range all {
		n, err := m.hold(ctx, int32(p))
		if err != nil {
			return nil, err
		}
		all[p] = n
	}
	return all, nil
}

func (m *member) acceptError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// stopAccepting ends Accept, as a pipeline does first, and checks what it returns.
func (m *member) stopAccepting(ctx context.Context) error {
	m.cancel(errEnough)
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("member %d: Accept has not returned after its ctx has ended: %w", m.number, context.Cause(ctx))
	}
}

// leave stops accepting, releases what is held and closes. A second call does nothing.
func (m *member) leave(ctx context.Context) error {
	m.mu.Lock()
	already := m.left
	m.left = true
	m.mu.Unlock()
	if already {
		return nil
	}
	if err := m.stopAccepting(ctx); err != nil {
		return err
	}
	var errs []error
	for _, n := range m.held() {
		if err := n.letGo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("release of %v: %w", n.part.ID(), err))
		}
	}
	// A release that watch has begun must be over too.
	over := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("member %d: a Release has not returned: %w", m.number, context.Cause(ctx)))
	}
	if err := m.src.Close(); err != nil {
		errs = append(errs, fmt.Errorf("member %d: close: %w", m.number, err))
	}
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	if m.crashed {
		return nil // the dead owe nothing
	}
	return errors.Join(errs...)
}

// crash ends the member without a word to the group.
func (m *member) crash() error {
	m.h.mu.Lock()
	m.crashed = true
	m.h.mu.Unlock()
	m.gone()
	return m.h.env.Crash(m.src)
}

// lose takes the partition from the member, and perhaps all others.
func (m *member) lose(id source.ID) error {
	m.gone()
	return m.h.env.Lose(m.src, id)
}

// gone notes that others may own from now on what this member has now.
func (m *member) gone() {
	held := m.held()
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	for _, n := range held {
		n.gone = true
	}
}
