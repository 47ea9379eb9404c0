package kafka

import (
	"slices"

	"github.com/keystrand/keystrand/source"
)

// Generation returns the number of the group's current generation; 0 for none.
func (s *Source) Generation() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.session.ID
}

// Held returns the partitions that are not released, sorted by name.
func (s *Source) Held() (ids []source.ID) {
	for _, p := range s.heldPartitions() {
		ids = append(ids, p.id)
	}
	return ids
}

// Lost reports whether this ownership was lost, or is not held.
func (s *Source) Lost(id source.ID) bool {
	for _, p := range s.heldPartitions() {
		if p.id == id {
			_, lost := p.tenure.Lost()
			return lost
		}
	}
	return true
}

func (s *Source) heldPartitions() (held []*Partition) {
	s.mu.Lock()
	for _, p := range s.held {
		held = append(held, p)
	}
	s.mu.Unlock()
	slices.SortFunc(held, func(p, q *Partition) int { return p.name.Compare(q.name) })
	return held
}

// SetDescriptors sets how many files the process may open and has open.
func (s *Source) SetDescriptors(limit, open int) {
	s.descriptors = func() (int, int, bool) { return limit, open, true }
}
