package pipeline

import (
	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
)

// scratch is what a worker uses again for each turn.
type scratch struct {
	call     keystrand.Call
	messages []*keystrand.Message // of the turn's items
}

// scratchOf returns the worker's.
func scratchOf(t *keyed.Turn[item]) *scratch {
	s, ok := (*t.Scratch).(*scratch)
	if !ok {
		s = &scratch{}
		*t.Scratch = s
	}
	return s
}

// callOf makes the call of a turn, which counts as an attempt for each of its items.
func (s *scratch) callOf(items []*item) *keystrand.Call {
	s.messages = s.messages[:0]
	for _, it := range items {
		it.Attempt++
		s.messages = append(s.messages, &it.Message)
	}
	reset(&s.call, s.messages)
	return &s.call
}
