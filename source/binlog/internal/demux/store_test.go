package demux

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
	saves  int
	broken func(stream string) error // asked before each Claim and Save; nil: never
}

func newMemStore() *memStore {
	return &memStore{saved: make(map[string]string), epochs: make(map[string]int64)}
}

func (s *memStore) Claim(_ context.Context, stream string, _ int32, epoch int64) (*commit.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		if err := s.broken(stream); err != nil {
			return nil, err
		}
	}
	p := s.atLocked(stream)
	s.epochs[stream] = max(s.epochs[stream]+1, epoch)
	p.Epoch = s.epochs[stream]
	return p, nil
}

func (s *memStore) Save(_ context.Context, stream string, _ int32, p *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		if err := s.broken(stream); err != nil {
			return err
		}
	}
	if p.Epoch != s.epochs[stream] {
		return fmt.Errorf("save of %s with epoch %d, the owner has %d: %w", stream, p.Epoch, s.epochs[stream], commit.ErrFenced)
	}
	s.saves++
	s.saved[stream], _ = commit.Encode(p, 0)
	return nil
}

// forget deletes what is stored of a stream.
func (s *memStore) forget(stream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.saved, stream)
	delete(s.epochs, stream)
}

// at returns what is stored of a stream.
func (s *memStore) at(stream string) *commit.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.atLocked(stream)
}

func (s *memStore) atLocked(stream string) *commit.Progress {
	text, there := s.saved[stream]
	if !there {
		return &commit.Progress{}
	}
	p, err := commit.Decode(text)
	if err != nil {
		panic(err)
	}
	return p
}
