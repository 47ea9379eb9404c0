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

// ErrCrashed is what a source and its partitions return after [Source.Crash].
var ErrCrashed = errors.New("memory: the source has crashed")

// Source is one member of a group in each of its logs. It implements [source.Source], [source.Mover] and
// [source.Prefetcher]; its partitions implement [source.Lagger].
//
// Accept is for one goroutine, as the contract says; Crash, Lose and AskBack may be called from any.
type Source struct {
	cfg    Config
	logs   []*Log
	broken error         // of the configuration
	wake   chan struct{} // room for one: something may have changed for Accept

	mu      sync.Mutex // after the mu of a log
	held    []held     // partitions not released yet
	crashed bool
	closed  bool
}

type held struct {
	log       *Log
	partition int32
}

// NewSource joins the group cfg.Group in every log, as a new member. The partitions of each log are shared evenly
// among the members, and those that move to the new one are asked back from their owners.
//
// A source with a configuration that is wrong does not join: its Accept returns all that is wrong.
func NewSource(cfg Config, logs ...*Log) *Source {
	s := &Source{cfg: cfg, logs: slices.Clone(logs), wake: make(chan struct{}, 1), broken: cfg.validate()}
	if len(logs) == 0 {
		s.broken = errors.Join(s.broken, errors.New("memory: a source without a log"))
	}
	for i, l := range logs {
		if slices.ContainsFunc(logs[:i], func(o *Log) bool { return o.stream == l.stream }) {
			s.broken = errors.Join(s.broken, fmt.Errorf("memory: two logs of one source have the name %q", l.stream))
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

// Accept returns the next partition, see [source.Source]. It returns io.EOF when all logs are closed and the group has
// committed every partition up to its end; partitions at their end are not handed out.
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

// Close leaves the group. Partitions that were not released are an error, and are lost.
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
		return errors.New("memory: the source was closed twice")
	case left > 0:
		return fmt.Errorf("memory: the source was closed with %d partitions that are not released", left)
	}
	return nil
}

// Crash ends the source as the death of its process would: it commits nothing more, its partitions are free at once
// for others, its calls return [ErrCrashed], commits [commit.ErrFenced]. What remains of the pipeline that used it is
// told that its partitions are lost, so that a test can end it.
func (s *Source) Crash() {
	s.mu.Lock()
	s.crashed = true
	s.mu.Unlock()
	s.leave()
	s.wakeUp()
}

// Lose takes a partition away without asking, as when a session expires: another member gets it, or this one again
// after its Release. It reports whether the source owned the partition.
func (s *Source) Lose(stream string, number int32) bool {
	return s.owned(stream, number, func(g *Group, p *partition) {
		var next *Source
		if i := slices.IndexFunc(g.members, func(m *Source) bool { return m != s }); i >= 0 {
			next = g.members[i]
		}
		g.loseLocked(p, next)
	})
}

// AskBack asks for a partition as if it were to move, and after its Release gives it to this source again, in a new
// epoch. It reports whether the source owned the partition.
func (s *Source) AskBack(stream string, number int32) bool {
	return s.owned(stream, number, func(g *Group, p *partition) { g.askBackLocked(p) })
}

// Moves tells what [Config].Moves says.
func (s *Source) Moves() bool { return s.cfg.Moves }

// Prefetch returns [Config].Prefetch.
func (s *Source) Prefetch() int { return s.cfg.Prefetch }

// owned calls f for a partition that s owns, under the log's lock.
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

// gone returns why nothing works any more, or nil.
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

// wakeUp lets Accept look again. It never blocks.
func (s *Source) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
