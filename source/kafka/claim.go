package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// claim gives each partition its epoch and commits it before the first fetch. The next owner then has a larger epoch, even if
// this one crashes, and Start is not applied again.
func (g *generation) claim(ctx context.Context, names []assign.Partition, topics map[string]metadata.Topic,
	restored map[assign.Partition]progress.Restored, starts map[assign.Partition]int64,
) ([]*Partition, error) {
	s := g.s
	now := time.Now()
	var owned []*Partition
	var claims []*progress.Commit
	var ended []assign.Partition
	for _, n := range names {
		r := restored[n]
		s.mu.Lock()
		epoch := progress.NextEpoch(r.Epoch, s.tried[n], g.session.ID, now)
		s.tried[n] = epoch // even if the claim fails: it may have been stored
		end, finite := s.ends[n]
		s.mu.Unlock()
		if !finite {
			end = -1
		}
		start := &commit.Progress{Log: topics[n.Topic].LogID, Epoch: epoch, Frontier: starts[n], Ahead: r.Ahead, At: r.At}
		claimed := *start
		if len(r.Ahead) > 0 {
			claimed.Log = progress.NameLog(claimed.Log, r.AheadEpoch)
		}
		claim := &progress.Commit{Partition: n, Progress: &claimed, LeaderEpoch: r.LeaderEpoch, Before: r.Metadata}
		claims = append(claims, claim)
		if finite && starts[n] >= end { // nothing to fetch, but the other members wait for the commit
			ended = append(ended, n)
			continue
		}
		reading := s.reading
		reading.LogID = start.Log
		reader := fetch.NewReader(reading, n.Topic, n.Number, starts[n])
		reader.Expect(r.LeaderEpoch)
		id := source.ID{Stream: n.Topic, Partition: n.Number, Epoch: epoch}
		owned = append(owned, &Partition{
			id:          id,
			name:        n,
			gen:         g,
			restored:    start,
			claim:       claim,
			last:        claim,
			reader:      reader,
			tenure:      tenure.New("kafka", id, starts[n]),
			leaderEpoch: r.LeaderEpoch,
			aheadEpoch:  r.AheadEpoch,
			end:         end,
			position:    starts[n],
		})
	}
	if err := g.commits.CommitAll(ctx, claims); err != nil {
		if errors.Is(err, commit.ErrFenced) { // the next generation claims them
			<-ctx.Done()
		}
		return owned, fmt.Errorf("kafka: group %q: claim: %w", s.cluster.Group, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range ended {
		s.done[n] = true
	}
	return owned, nil
}
