package pulsar

import (
	"slices"
	"time"

	"github.com/keystrand/keystrand/source"
)

// want records whether a call of Accept waits. Contenders that have given up start again when one does.
func (s *Source) want(accepting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepting = accepting
	if accepting {
		for _, c := range s.contenders {
			c.poke()
		}
	}
}

// wanted reports whether a call of Accept waits.
func (s *Source) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepting && s.err == nil
}

// over reports whether Accept will return no further partition.
func (s *Source) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil || s.stopped
}

// offer gives a partition to Accept.
func (s *Source) offer(p *Partition) {
	s.mu.Lock()
	s.queue = append(s.queue, p)
	if s.err == nil { // else the offer is withdrawn: a late attachment does not heal the source
		s.state = stateMember
	}
	s.mu.Unlock()
	poke(s.arrived)
}

// take returns the next partition, or the final error. It returns neither if the queue is empty.
func (s *Source) take() (source.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.stopped:
		return nil, errNoMore
	}
	if len(s.queue) == 0 {
		return nil, nil //nolint:nilnil // nothing yet
	}
	p := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.held[p] = struct{}{}
	return p, nil
}

// withdraw takes an offer back. It reports false if Accept has returned the partition.
func (s *Source) withdraw(p *Partition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.queue)
	s.queue = slices.DeleteFunc(s.queue, func(q *Partition) bool { return q == p })
	return len(s.queue) < n
}

// forget records the release of a partition.
func (s *Source) forget(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, p)
}

// fail ends Accept. The first error counts.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	if s.state != stateClosed {
		s.state = stateFailed
	}
	close(s.failed)
	for _, c := range s.contenders {
		c.poke() // so that it withdraws its offer
	}
}

// nextEpoch returns an epoch greater than those of all earlier owners, as far as the clocks of the processes agree. One
// number serves all partitions, so nothing is kept for each.
func (s *Source) nextEpoch() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch+1, time.Now().UnixMicro())
	return s.epoch
}

// claimed records an epoch that the store has given.
func (s *Source) claimed(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch, epoch)
}

// moves reports whether Start still has to move the subscription of a partition. It is about named topics, and about the
// matching ones of the first list until they are not listed any more: a topic that the library reports missing for a moment
// is still the same log. A matching topic that is created later has nothing to skip.
func (s *Source) moves(c *contender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved, about := s.moved[c.stream]
	return s.cfg.Start.moves() && about && !slices.Contains(moved, c.topic)
}

// seeked records that Start has moved the subscription of a partition.
func (s *Source) seeked(c *contender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if moved, about := s.moved[c.stream]; about { // else it was delisted meanwhile
		s.moved[c.stream] = append(moved, c.topic)
	}
}
