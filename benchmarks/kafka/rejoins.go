package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/source"
)

// rejoins is a source that counts partitions accepted again. The member is alone in its group, so each one means that it
// had to rejoin, and the figures of the run are not reliable. Parts without a column for the count use once, which makes a
// rejoin an error.
type rejoins struct {
	source.Source
	once     bool
	accepted map[source.ID]int // by stream and number, without the epoch
	times    int               // written by Accept, read after the last one
}

var errRejoined = errors.New("member had to rejoin its group: run on a less busy machine, or with a longer session timeout")

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
