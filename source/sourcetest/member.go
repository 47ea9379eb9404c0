package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/keystrand/keystrand/source"
)

// member is one source and the goroutine that accepts from it. It releases a partition as soon as that is revoked or lost,
// unless the case has taken it by hold.
type member struct {
	h      *harness
	number int
	src    source.Source
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when Accept, and then Stop, have returned
	wg     sync.WaitGroup

	crashed bool // guarded by the harness's mu

	mu   sync.Mutex
	err  error // the error of Accept
	left bool  // leave was called
}

var errEnough = errors.New("sourcetest: the member leaves")

func newMember(h *harness, number int, src source.Source) *member {
	return &member{h: h, number: number, src: src, ended: make(chan struct{})}
}

// start starts one goroutine that accepts, and one for each holding. They do not end with ctx, so that the members of a case
// that timed out can still leave in order.
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
				if s, ok := m.src.(source.Stopper); ok && err != io.EOF { //nolint:errorlint // see end
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

// held returns all ownerships that the member has accepted, released or not.
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

// hold waits until the member owns the partition and takes it: from then on the case releases it.
func (m *member) hold(ctx context.Context, partition int32) *holding {
	n, err := m.h.find(ctx, m.ended, func(n *holding) bool { return n.m == m && n.number == partition })
	if err != nil {
		fail("member %d waits for %v: %w", m.number, m.h.env.name(int(partition)),
			errors.Join(err, m.acceptError()))
	}
	return n
}

// holdAll is hold for every partition, in the order of their numbers.
func (m *member) holdAll(ctx context.Context) []*holding {
	all := make([]*holding, m.h.env.Partitions)
	for p := range all {
		all[p] = m.hold(ctx, int32(p))
	}
	return all
}

func (m *member) acceptError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// stopAccepting ends the ctx of Accept and waits until Accept has returned.
func (m *member) stopAccepting(ctx context.Context) error {
	m.cancel(errEnough)
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("member %d: Accept has not returned since its ctx ended: %w", m.number, context.Cause(ctx))
	}
}

// leave stops accepting, releases all partitions and closes the source. A second call does nothing.
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
	// Wait for each Release that watch has called, too.
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
		return nil // a crashed source may return any error
	}
	return errors.Join(errs...)
}

// crash ends the member, which does not leave the group.
func (m *member) crash() error {
	m.h.mu.Lock()
	m.crashed = true
	m.h.mu.Unlock()
	m.gone()
	return m.h.env.Crash(m.src)
}

// lose revokes the partition, and perhaps all others of the member.
func (m *member) lose(id source.ID) error {
	m.gone()
	return m.h.env.Lose(m.src, id)
}

// gone records that others may own the partitions of this member from now on.
func (m *member) gone() {
	held := m.held()
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	for _, n := range held {
		n.gone = true
	}
}
