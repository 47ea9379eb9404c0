package demux

import (
	"context"
	"sync"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/binlog/internal/memstore"
)

// memStore is a store of progress in memory that may be broken.
type memStore struct {
	*memstore.Store

	mu     sync.Mutex
	broken func(stream string) error // asked before each Claim and Save; nil: never
}

func newMemStore() *memStore { return &memStore{Store: memstore.New()} }

func (s *memStore) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	if err := s.ask(stream); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, stream, partition, epoch)
}

func (s *memStore) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	if err := s.ask(stream); err != nil {
		return err
	}
	return s.Store.Save(ctx, stream, partition, p)
}

func (s *memStore) ask(stream string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		return nil
	}
	return s.broken(stream)
}

func (s *memStore) forget(stream string) { s.Forget(stream) }

// at returns what is stored of a stream.
func (s *memStore) at(stream string) *commit.Progress {
	p, err := s.At(stream)
	if err != nil {
		panic(err)
	}
	return p
}
