// Package memstore has a store of progress in memory, for tests. It keeps texts, as a real one does.
package memstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// Store is a [commit.Store] of streams with one partition each. It is safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	saved  map[string]string
	epochs map[string]int64
}

// New returns a store without progress.
func New() *Store { return &Store{saved: make(map[string]string), epochs: make(map[string]int64)} }

// Claim implements [commit.Store].
func (s *Store) Claim(_ context.Context, stream string, _ int32, epoch int64) (*commit.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.atLocked(stream)
	if err != nil {
		return nil, err
	}
	s.epochs[stream] = max(s.epochs[stream]+1, epoch)
	p.Epoch = s.epochs[stream]
	return p, nil
}

// Save implements [commit.Store].
func (s *Store) Save(_ context.Context, stream string, _ int32, p *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Epoch != s.epochs[stream] {
		return fmt.Errorf("save of %s with epoch %d, the owner has %d: %w", stream, p.Epoch, s.epochs[stream], commit.ErrFenced)
	}
	s.saved[stream], _ = commit.Encode(p, 0)
	return nil
}

// Epoch returns the epoch of the last Claim of a stream, and 0 if there was none.
func (s *Store) Epoch(stream string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epochs[stream]
}

// At returns what is stored of a stream, an empty progress if nothing is.
func (s *Store) At(stream string) (*commit.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.atLocked(stream)
}

// Forget deletes what is stored of a stream.
func (s *Store) Forget(stream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.saved, stream)
	delete(s.epochs, stream)
}

func (s *Store) atLocked(stream string) (*commit.Progress, error) {
	text, there := s.saved[stream]
	if !there {
		return &commit.Progress{}, nil
	}
	p, err := commit.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", stream, err)
	}
	return p, nil
}
