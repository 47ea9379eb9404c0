package kafkanet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// repeat is how often a broker that does not answer is logged.
	repeat = time.Minute
	// settled is how long all requests are answered before a broker counts as recovered.
	settled = 5 * time.Second
)

// Wait is a broker that does not answer.
type Wait struct {
	Address string
	Step    string
	Since   time.Time
}

// peers has what is known of each broker.
type peers struct {
	brokers []string
	log     *slog.Logger
	used    atomic.Bool // a broker has answered a request after the handshake, so the credentials are right

	mu  sync.Mutex
	all map[string]*peer
}

// peer is one broker. Guarded by peers.mu.
type peer struct {
	good  bool      // the last step that failed has succeeded since; false if none was tried
	bad   time.Time // the last failure; zero: none
	worst int       // rank of the step that failed last
	cause *Error    // the last failure; nil: none
	late  map[any]step
	step  step      // that is silent, while since is set
	since time.Time // zero: the broker answers
	told  time.Time // when it was last logged; zero: not since the broker is silent
	heals time.Time // since when it answers again
}

func newPeers(brokers []string, log *slog.Logger) *peers {
	return &peers{brokers: brokers, log: log, all: make(map[string]*peer)}
}

func (ps *peers) ofLocked(address string) *peer {
	p := ps.all[address]
	if p == nil {
		p = &peer{late: make(map[any]step)}
		ps.all[address] = p
	}
	return p
}

func (ps *peers) listed(address string) bool { return slices.Contains(ps.brokers, address) }

// better returns a broker of the list that should be tried before address; empty if there is none. A broker that answers is
// better than one that was not tried, and that is better than one that failed. Of several that failed, the one is the best
// that failed first.
func (ps *peers) better(address string) string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	best, mine := "", ps.ofLocked(address)
	for _, b := range ps.brokers {
		if p := ps.ofLocked(b); p.before(mine) && (best == "" || p.before(ps.ofLocked(best))) {
			best = b
		}
	}
	return best
}

// others reports whether another broker of the list has not failed, so that a bootstrap connection need not wait for this one.
func (ps *peers) others(address string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.ContainsFunc(ps.brokers, func(b string) bool { return b != address && ps.ofLocked(b).class() < 2 })
}

// skip returns an error if another broker of the list should be tried before address: the last failure of any of them, because
// the library returns the error of the address that it has tried last.
func (ps *peers) skip(address string) error {
	better := ps.better(address)
	if better == "" {
		return nil
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var last *peer
	for _, b := range ps.brokers {
		if p := ps.ofLocked(b); p.cause != nil && (last == nil || last.bad.Before(p.bad)) {
			last = p
		}
	}
	if last != nil {
		return last.cause
	}
	return &Error{Address: address, Step: stepConnect, Err: fmt.Errorf("skipped: broker %s is tried first", better)}
}

func (p *peer) before(q *peer) bool {
	if a, b := p.class(), q.class(); a != b {
		return a < b
	}
	return p.class() == 2 && p.bad.Before(q.bad)
}

func (p *peer) class() int {
	switch {
	case p.good:
		return 0
	case p.bad.IsZero():
		return 1
	}
	return 2
}

// failed records a step that has failed.
func (ps *peers) failed(cause *Error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.ofLocked(cause.Address).failLocked(cause)
}

func (p *peer) failLocked(cause *Error) {
	p.good, p.bad, p.worst, p.cause = false, time.Now(), cause.Step.rank(), cause
}

// watch reports a step that takes too long, until the returned function is called.
func (ps *peers) watch(ctx context.Context, address string, s step) (stop func()) {
	began, key := time.Now(), new(atomic.Bool) // set when the step is over
	t := time.AfterFunc(patience, func() {
		ps.late(ctx, address, key, s, began)
		if key.Load() {
			ps.gaveUp(address, key)
		}
	})
	return func() {
		t.Stop()
		key.Store(true)
		ps.gaveUp(address, key)
	}
}

// late records that a broker is silent: it has not answered a step of a connection, begun at since.
func (ps *peers) late(ctx context.Context, address string, key any, s step, since time.Time) {
	now := time.Now()
	ps.mu.Lock()
	p := ps.ofLocked(address)
	p.late[key] = s
	if s.waitsForOthers() && !p.since.IsZero() && !p.step.waitsForOthers() {
		ps.mu.Unlock()
		return // the silence of another step is worse
	}
	p.heals = time.Time{}
	if !s.waitsForOthers() {
		p.failLocked(&Error{Address: address, Step: s, Err: errNoAnswer})
	}
	if p.since.IsZero() || p.step.waitsForOthers() && !s.waitsForOthers() {
		p.since, p.told = since, time.Time{}
	}
	p.step, since = s, p.since
	tell := now.Sub(p.told) >= repeat-patience // the timers of connections are not exact
	if tell {
		p.told = now
	}
	ps.mu.Unlock()
	if !tell {
		return
	}
	level := slog.LevelWarn
	if s.waitsForOthers() {
		level = slog.LevelInfo
	}
	ps.log.LogAttrs(ctx, level, "kafka: waiting for Kafka",
		slog.String("address", address), slog.String("step", s.String()), slog.Duration("for", now.Sub(since).Round(100*time.Millisecond)))
}

// gaveUp removes a wait that has ended, with or without an answer.
func (ps *peers) gaveUp(address string, key any) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.ofLocked(address).late, key)
}

// answered records the answer to a step. It logs once that a broker has answered for some time.
func (ps *peers) answered(address string, s step) {
	if s.rank() == ready && !ps.used.Load() {
		ps.used.Store(true)
	}
	ps.mu.Lock()
	p := ps.ofLocked(address)
	if rank := s.rank(); rank >= p.worst {
		p.good = true
	}
	if p.since.IsZero() || p.silent() || s.rank() < p.step.rank() {
		ps.mu.Unlock()
		return
	}
	now := time.Now()
	if p.heals.IsZero() {
		p.heals = now
	}
	if now.Sub(p.heals) < settled && !p.step.waitsForOthers() {
		ps.mu.Unlock()
		return
	}
	since, warned := p.since, !p.step.waitsForOthers()
	p.since, p.heals = time.Time{}, time.Time{}
	ps.mu.Unlock()
	if warned {
		ps.log.LogAttrs(context.Background(), slog.LevelInfo, "kafka: Kafka answers again",
			slog.String("address", address), slog.Duration("after", now.Sub(since).Round(100*time.Millisecond)))
	}
}

// silent reports whether an answer is late that the trouble of p is about.
func (p *peer) silent() bool {
	for _, s := range p.late {
		if !s.waitsForOthers() || p.step.waitsForOthers() {
			return true
		}
	}
	return false
}

// waits returns the brokers that do not answer.
func (ps *peers) waits() (all []Wait) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for address, p := range ps.all {
		if !p.since.IsZero() && !p.step.waitsForOthers() {
			all = append(all, Wait{Address: address, Step: p.step.String(), Since: p.since})
		}
	}
	slices.SortFunc(all, func(a, b Wait) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}
