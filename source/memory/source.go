package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/keystrand/keystrand/source"
)

// ErrCrashed is returned by a source and its partitions after [Source.Crash].
var ErrCrashed = errors.New("memory: the source has crashed")

// Source is one member of a group in each of its logs. It implements [source.Source], [source.Mover] and [source.Describer]; its
// partitions implement [source.Lagger].
//
// Call Accept from one goroutine. Crash, Lose and Revoke may be called from any goroutine.
type Source struct {
	cfg    Config
	logs   []*Log
	broken error         // configuration error
	wake   chan struct{} // capacity 1; wakes Accept

	mu      sync.Mutex // lock order: after the mu of a log
	held    []held     // partitions that are not released
	crashed bool
	closed  bool
}

type held struct {
	log       *Log
	partition int32
}

// NewSource returns a source that joins the group cfg.Group of every log as a new member. The partitions of each log are
// assigned evenly to the members, and those that move to the new member are revoked.
//
// A source with an invalid configuration does not join. Its Accept returns all configuration errors.
func NewSource(cfg Config, logs ...*Log) *Source {
	s := &Source{cfg: cfg, logs: slices.Clone(logs), wake: make(chan struct{}, 1), broken: cfg.validate()}
	if len(logs) == 0 {
		s.broken = errors.Join(s.broken, errors.New("memory: the source has no log: pass at least one to NewSource"))
	}
	for i, l := range logs {
		if slices.ContainsFunc(logs[:i], func(o *Log) bool { return o.stream == l.stream }) {
			s.broken = errors.Join(s.broken, fmt.Errorf("memory: the source has two logs with the name %q: names must differ", l.stream))
		}
	}
	if s.broken != nil {
		return s
	}
	for _, l := range logs {
		l.mu.Lock()
		l.groupLocked(cfg.Group).joinLocked(s)
		l.mu.Unlock()
	}
	return s
}

// Accept implements [source.Source]. It returns io.EOF when all logs are closed and the group has committed every partition up to
// its end. It does not return partitions that are committed up to their end.
func (s *Source) Accept(ctx context.Context) (source.Partition, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := s.gone(); err != nil {
			return nil, err
		}
		ended := true
		for _, l := range s.logs {
			p, end := s.take(l)
			if p != nil {
				return p, nil
			}
			ended = ended && end
		}
		if ended {
			return nil, io.EOF
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// take makes s the owner of one of the log's partitions, if one is free for it.
func (s *Source) take(l *Log) (p *partition, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ended = l.groupLocked(s.cfg.Group).takeLocked(s)
	if p != nil {
		s.mu.Lock()
		s.held = append(s.held, held{l, p.id.Partition})
		s.mu.Unlock()
	}
	return p, ended
}

// Close leaves the group. If partitions are not released, they are lost and Close returns an error.
func (s *Source) Close() error {
	s.mu.Lock()
	already, left := s.closed, len(s.held)
	if s.crashed {
		left = 0
	}
	s.closed = true
	s.mu.Unlock()
	s.leave()
	switch {
	case already:
		return errors.New("memory: close the source: it is already closed")
	case left > 0:
		return fmt.Errorf("memory: close the source: %d partitions are not released: release them first", left)
	}
	return nil
}

// Crash simulates the crash of the process. Commits fail with [commit.ErrFenced], and other calls with [ErrCrashed]. The
// partitions are free for other members at once. The pipeline of the source gets a Leave with Lost for each, so that its Run
// ends.
func (s *Source) Crash() {
	s.mu.Lock()
	s.crashed = true
	s.mu.Unlock()
	s.leave()
	s.wakeUp()
}

// Lose makes the source lose a partition without a request, as after an expired session. Another member gets it; if there is
// none, this one gets it again after its Release. Lose reports whether the source owned the partition.
func (s *Source) Lose(stream string, number int32) bool {
	return s.owned(stream, number, func(g *Group, p *partition) {
		var next *Source
		if i := slices.IndexFunc(g.members, func(m *Source) bool { return m != s }); i >= 0 {
			next = g.members[i]
		}
		g.loseLocked(p, next)
	})
}

// Revoke revokes a partition, as if it moved. After its Release this source gets it again with a new epoch. Revoke reports
// whether the source owned the partition.
func (s *Source) Revoke(stream string, number int32) bool {
	return s.owned(stream, number, func(g *Group, p *partition) { g.revokeLocked(p) })
}

// Moves returns [Config].Moves.
func (s *Source) Moves() bool { return s.cfg.Moves }

// Describe implements [source.Describer].
func (s *Source) Describe() source.Description {
	return source.Description{System: "memory", Group: s.cfg.Group}
}

// owned calls f with a partition under the lock of its log, if s owns it. It reports whether s owns it.
func (s *Source) owned(stream string, number int32, f func(*Group, *partition)) bool {
	for _, l := range s.logs {
		if l.stream != stream {
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		g := l.groupLocked(s.cfg.Group)
		if p := g.parts[number].owner; p != nil && p.source == s {
			f(g, p)
			return true
		}
	}
	return false
}

func (s *Source) leave() {
	if s.broken != nil {
		return
	}
	for _, l := range s.logs {
		l.mu.Lock()
		l.groupLocked(s.cfg.Group).leaveLocked(s)
		l.mu.Unlock()
	}
}

func (s *Source) holds(l *Log, partition int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.held, held{l, partition})
}

func (s *Source) letGo(l *Log, partition int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = slices.DeleteFunc(s.held, func(h held) bool { return h == held{l, partition} })
}

// gone returns an error if the source has crashed or is closed.
func (s *Source) gone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.crashed:
		return ErrCrashed
	case s.closed:
		return errors.New("memory: the source is closed")
	}
	return nil
}

// wakeUp wakes Accept. It never blocks.
func (s *Source) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
