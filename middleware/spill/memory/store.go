// Package memory is a store of strands for tests. It keeps records until the process ends and survives the pipelines that use
// it: a test can close it, or leave it as a crash would, and give it to the next pipeline. A [Fault] makes it fail, block, store
// a part or lose its reply.
//
// The store is not for production: it loses its records when the process ends, and the limits of a pipeline do not bound it.
package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// Store keeps strands in memory. It is safe for concurrent use.
type Store struct {
	local bool

	mu         sync.Mutex
	fault      Fault
	partitions map[partitionID]*partition
	logs       int // number of open logs
}

type partitionID struct {
	stream string
	number int32
}

// partition is guarded by Store.mu.
type partition struct {
	log     string
	epoch   int64
	claim   int64 // number of Opens: only the last one counts
	strands map[string]*strand
}

var _ spill.Store = (*Store)(nil)

// New returns an empty store. Pipelines of this process can share it.
func New() *Store { return &Store{partitions: make(map[partitionID]*partition)} }

// NewLocal returns an empty store that says that it is not shared, as a file on one machine.
func NewLocal() *Store {
	s := New()
	s.local = true
	return s
}

// SetFault sets the Fault for the following operations. A nil f removes it.
func (s *Store) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Shared implements spill.Store.
func (s *Store) Shared() bool { return !s.local }

// Open implements spill.Store.
func (s *Store) Open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	c := Call{Op: Open, Owner: o}
	if err := s.ask(ctx, c); err != nil {
		return nil, nil, fmt.Errorf("memory: open %s/%d: %w", o.Stream, o.Partition, err)
	}
	l, strands, err := s.claim(o)
	if err != nil {
		return nil, nil, err
	}
	c.Stored = true
	if err := s.ask(ctx, c); err != nil {
		_ = l.Close()
		return nil, nil, fmt.Errorf("memory: open %s/%d: %w", o.Stream, o.Partition, err)
	}
	return l, strands, nil
}

// Logs returns the number of logs that are open. A test can compare it with the number of partitions owned.
func (s *Store) Logs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs
}

// Strands returns all strands of a partition, as they are now, in no order. Foreign is not set.
func (s *Store) Strands(stream string, number int32) []spill.Strand {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[partitionID{stream, number}]
	if p == nil {
		return nil
	}
	var all []spill.Strand
	for _, st := range p.strands {
		all = append(all, st.Strand.Strand)
	}
	return all
}

// Offsets returns the offsets of the records of a strand, in ascending order.
func (s *Store) Offsets(stream string, number int32, key string) (offsets []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partitions[partitionID{stream, number}]; p != nil && p.strands[key] != nil {
		for _, r := range p.strands[key].records {
			offsets = append(offsets, r.message.Offset)
		}
	}
	return offsets
}

// Close implements spill.Store. It forgets nothing, and the store can be opened again.
func (s *Store) Close() error { return nil }

func (s *Store) claim(o spill.Owner) (spill.Log, []spill.Strand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := partitionID{o.Stream, o.Partition}
	p := s.partitions[id]
	if p == nil {
		p = &partition{strands: make(map[string]*strand)}
		s.partitions[id] = p
	}
	if p.claim > 0 && p.log == o.Log && p.epoch > o.Epoch {
		return nil, nil, fmt.Errorf("memory: open %s/%d with epoch %d after epoch %d: %w", o.Stream, o.Partition, o.Epoch, p.epoch, commit.ErrFenced)
	}
	p.log, p.epoch = o.Log, o.Epoch
	p.claim++
	s.logs++
	var all []spill.Strand
	for _, st := range p.strands {
		v := st.Strand.Strand
		v.Foreign = v.Log != o.Log
		all = append(all, v)
	}
	return &ownership{store: s, owner: o, partition: p, claim: p.claim}, all, nil
}

// ask calls the Fault, and then looks at ctx.
func (s *Store) ask(ctx context.Context, c Call) error {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, c); err != nil {
			return err
		}
	}
	if !c.Stored && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// part returns how many of n are stored with this error of a Fault.
func part(err error, n int) int {
	if err == nil {
		return n
	}
	if p, ok := errors.AsType[*PartError](err); ok {
		return min(n, max(0, p.N))
	}
	return 0
}

// strand is a strand with its records, in the order of their offsets.
type strand struct {
	record.Strand

	records []stored
}
