package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/source"
)

// rejoins is a source that counts how often partitions come again: one member is alone in its group here, so each time
// its membership was lost or interrupted, and the figures of such a run say little. Where there is no column for the
// count, once makes it an error: no figure is wrong in silence.
type rejoins struct {
	source.Source
	once     bool
	accepted map[source.ID]int // by stream and number, without the epoch
	times    int               // written by Accept, read after the last one
}

var errRejoined = errors.New("the member had to join its group again: the machine or the broker is too busy, or its session too short")

// Accept is called from one goroutine.
func (s *rejoins) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	id := p.ID()
	id.Epoch = 0
	if s.accepted == nil {
		s.accepted = map[source.ID]int{}
	}
	s.accepted[id]++
	s.times = max(s.times, s.accepted[id]-1)
	if s.once && s.times > 0 {
		return nil, errors.Join(fmt.Errorf("%v: %w", p.ID(), errRejoined), p.Release(context.WithoutCancel(ctx)))
	}
	return p, nil
}
