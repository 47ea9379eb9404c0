package binlogbench

import (
	"context"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// Store is a commit.Store in memory. It is safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	texts  map[string]string
	epochs map[string]int64
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{texts: map[string]string{}, epochs: map[string]int64{}} }

// Claim implements commit.Store.
func (s *Store) Claim(_ context.Context, stream string, _ int32, epoch int64) (*commit.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &commit.Progress{}
	if text, saved := s.texts[stream]; saved {
		var err error
		if p, err = commit.Decode(text); err != nil {
			return nil, fmt.Errorf("decode the progress of %s: %w", stream, err)
		}
	}
	s.epochs[stream] = max(s.epochs[stream]+1, epoch)
	p.Epoch = s.epochs[stream]
	return p, nil
}

// Save implements commit.Store.
func (s *Store) Save(_ context.Context, stream string, _ int32, p *commit.Progress) error {
	text, _ := commit.Encode(p, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Epoch != s.epochs[stream] {
		return fmt.Errorf("save the progress of %s: %w", stream, commit.ErrFenced)
	}
	s.texts[stream] = text
	return nil
}
