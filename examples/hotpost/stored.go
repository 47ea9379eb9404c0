package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
)

// stored is what a store has while no process uses it.
type stored struct {
	waiting map[show.Comment]bool   // the comments that are not handled, as far as it knows
	strands map[string]spill.Strand // by post
}

// readStore reads a copy of the file, because opening it would claim the partitions for the demo.
func readStore(ctx context.Context, file, topic string) (s stored, err error) {
	s = stored{waiting: map[show.Comment]bool{}, strands: map[string]spill.Strand{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil // no process has opened it
	}
	if err != nil {
		return s, err
	}
	file += ".copy"
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	store, err := bolt.New(file, bolt.Config{})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for i := range int32(show.Partitions) {
		if err := s.add(ctx, store, spill.Owner{Stream: topic, Partition: i, Epoch: math.MaxInt64}); err != nil {
			return s, err
		}
	}
	return s, nil
}

// add adds one partition.
func (s stored) add(ctx context.Context, store spill.Store, o spill.Owner) error {
	log, strands, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	for _, strand := range strands {
		s.strands[strand.Key] = strand
		ms, err := log.Read(ctx, strand.Key, strand.Mark, spill.Size{})
		if err != nil {
			return errors.Join(err, log.Close())
		}
		for _, m := range ms {
			c := show.Comment{Post: string(m.Key), Partition: int64(m.Partition), Offset: m.Offset}
			if _, err := fmt.Sscan(string(m.Value), &c.N); err != nil {
				return errors.Join(err, log.Close())
			}
			s.waiting[c] = true
		}
	}
	return log.Close()
}

// repeats reports whether the next process may handle a comment that this one has begun. settled reports what the group has
// committed. A comment is settled there as soon as it is in the store, which then knows whether it was handled.
func (s stored) repeats(c show.Comment, settled func(show.Comment) bool) bool {
	if s.waiting[c] {
		return true
	}
	strand, ok := s.strands[c.Post]
	return !settled(c) && (!ok || c.Offset < strand.From || c.Offset > strand.Mark)
}

// found returns the counts of a check. Comments that are in the store are not lost.
func (s stored) found(check *show.Check) show.Counts {
	counts := check.Result()
	for c := range s.waiting {
		if !check.Handled(c) {
			counts.Lost--
		}
	}
	return counts
}
