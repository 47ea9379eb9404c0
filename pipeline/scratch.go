package pipeline

import (
	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
)

// scratch is a worker's memory that it reuses for each turn.
type scratch struct {
	call     keystrand.Call
	messages []*keystrand.Message // messages of the turn's items
}

// scratchOf returns the scratch of the turn's worker.
func scratchOf(t *keyed.Turn[item]) *scratch {
	s, ok := (*t.Scratch).(*scratch)
	if !ok {
		s = &scratch{}
		*t.Scratch = s
	}
	return s
}

// callOf returns the call of a turn. It counts as an attempt for each item.
func (s *scratch) callOf(items []*item) *keystrand.Call {
	s.messages = s.messages[:0]
	for _, it := range items {
		it.Attempt++
		s.messages = append(s.messages, &it.Message)
	}
	reset(&s.call, s.messages)
	return &s.call
}

// idle is Config.Idle of the executor.
func idle(worker any) {
	if s, ok := worker.(*scratch); ok {
		release(&s.call)
		clear(s.messages[:cap(s.messages)]) // an earlier turn may have had more
	}
}
