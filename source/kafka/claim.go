package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
)

// claim gives each partition its epoch and commits it before the first message is read: the next owner then has a larger one,
// whatever becomes of this one, and a start that was chosen once is not chosen again.
func (g *generation) claim(ctx context.Context, names []partitionName, topics map[string]metadata.Topic,
	memories map[partitionName]memory, begins map[partitionName]int64,
) ([]*Partition, error) {
	s := g.s
	now := time.Now()
	var owned []*Partition
	var claims []*store
	var ended []partitionName
	for _, n := range names {
		m := memories[n]
		s.mu.Lock()
		epoch := nextEpoch(m.epoch, s.tried[n], g.id, now)
		s.tried[n] = epoch // also should the claim fail: nobody can tell whether it was stored
		end, finite := s.ends[n]
		s.mu.Unlock()
		if !finite {
			end = -1
		}
		restored := &commit.Progress{Log: topics[n.Topic].LogID, Epoch: epoch, Frontier: begins[n], Ahead: m.ahead}
		claimed := *restored
		if len(m.ahead) > 0 {
			claimed.Log = nameLog(claimed.Log, m.aheadEpoch)
		}
		claims = append(claims, &store{name: n, progress: &claimed, leaderEpoch: m.leaderEpoch})
		if finite && begins[n] >= end { // nothing to hand out, but the other members look for the commit
			ended = append(ended, n)
			continue
		}
		reading := s.reading
		reading.LogID = restored.Log
		reader := fetch.NewReader(reading, n.Topic, n.Number, begins[n])
		reader.Expect(m.leaderEpoch)
		owned = append(owned, &Partition{
			id:          source.ID{Stream: n.Topic, Partition: n.Number, Epoch: epoch},
			name:        n,
			gen:         g,
			restored:    restored,
			reader:      reader,
			leaving:     make(chan source.Leave, 2),
			leaderEpoch: m.leaderEpoch,
			aheadEpoch:  m.aheadEpoch,
			end:         end,
			position:    begins[n],
			frontier:    begins[n],
		})
	}
	if err := g.commits.commitAll(ctx, claims); err != nil {
		if errors.Is(err, commit.ErrFenced) { // the next generation claims them
			<-ctx.Done()
		}
		return owned, fmt.Errorf("kafka: group %q: claim: %w", s.group, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range ended {
		s.done[n] = true
	}
	return owned, nil
}
