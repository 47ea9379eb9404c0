package mysql_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// memStore keeps progress in memory, as text.
type memStore struct {
	mu     sync.Mutex
	saved  map[string]string
	epochs map[string]int64
}

func newMemStore() *memStore {
	return &memStore{saved: make(map[string]string), epochs: make(map[string]int64)}
}

func (s *memStore) Claim(_ context.Context, stream string, _ int32, epoch int64) (*commit.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &commit.Progress{}
	if text, there := s.saved[stream]; there {
		var err error
		if p, err = commit.Decode(text); err != nil {
			return nil, fmt.Errorf("decode %s: %w", stream, err)
		}
	}
	s.epochs[stream] = max(s.epochs[stream]+1, epoch)
	p.Epoch = s.epochs[stream]
	return p, nil
}

func (s *memStore) Save(_ context.Context, stream string, _ int32, p *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Epoch != s.epochs[stream] {
		return fmt.Errorf("save of %s with epoch %d, the owner has %d: %w", stream, p.Epoch, s.epochs[stream], commit.ErrFenced)
	}
	s.saved[stream], _ = commit.Encode(p, 0)
	return nil
}
