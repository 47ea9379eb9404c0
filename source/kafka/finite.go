package kafka

import (
	"context"
	"io"
)

// finished ends Accept with io.EOF when the group has come to the end of every partition. It reports whether our own
// part is done and others have to be waited for: their partitions are ours if they fail.
func (g *generation) finished(ctx context.Context) (waiting bool) {
	s := g.s
	s.mu.Lock()
	ours := len(g.todo) == 0 && len(g.live) == 0
	var others []partitionName
	for n := range s.ends {
		if !s.done[n] {
			others = append(others, n)
		}
	}
	s.mu.Unlock()
	if !ours {
		return false
	}
	stored, err := s.committed(ctx, others)
	if err != nil {
		return ctx.Err() == nil
	}
	s.mu.Lock()
	for _, n := range others {
		if stored[n].offset < s.ends[n] {
			s.mu.Unlock()
			return true
		}
	}
	s.mu.Unlock()
	s.fail(io.EOF)
	return false
}
