package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// roomy wraps a source with partitions that store twice as much with each commit, up to a limit.
type roomy struct {
	source.Source
	room, most int
	claimed    commit.Stored
	stored     commit.Stored // by the last commit
}

type roomyPartition struct {
	source.Partition
	source *roomy
}

func (s *roomy) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return &roomyPartition{p, s}, nil
}

func (p *roomyPartition) Claimed() commit.Stored { return p.source.claimed }

func (p *roomyPartition) Commit(ctx context.Context, g *commit.Progress) (commit.Stored, error) {
	s := p.source
	if _, err := p.Partition.Commit(ctx, g); err != nil {
		return commit.Stored{}, err
	}
	_, stored := commit.Encode(g, s.room)
	if stored.Replays > 0 && s.room < s.most {
		stored.More = true
		s.room = min(2*s.room, s.most)
	}
	s.stored = stored
	return stored, nil
}

// An earlier owner has settled all but each eighth message, the claim has stored almost nothing of it, and the others are
// blocked: nothing changes while fetching waits for MaxReplay.
func TestPartitionThatWaitsForMaxReplayCommitsWithMoreRoom(t *testing.T) {
	for _, c := range []struct {
		most     int
		position int64
	}{{4096, 8000}, {256, 1500}} {
		t.Run(fmt.Sprintf("up to %d bytes", c.most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n, maxReplay = 8000, 1500
				log := memory.NewLog("posts", 1)
				settled := &commit.Progress{Log: log.Identity(), Epoch: 1}
				for i := range int64(n) {
					log.Append(0, keystrand.Message{Key: fmt.Append(nil, i)})
					if i%8 == 0 {
						settled.Ahead = append(settled.Ahead, commit.Range{From: i + 1, To: i + 8})
					}
				}
				settleInEarlierEpoch(t, log, settled)
				src := &roomy{
					Source: memory.NewSource(memory.Config{}, log), room: 64, most: c.most,
					claimed: commit.Stored{Replays: 7 * n / 8, More: true},
				}
				run := start(t, pipeline.From(src).
					Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
						return keystrand.RetryAfter(24*time.Hour, nil)
					})).
					Limits(pipeline.Limits{MaxReplay: maxReplay, FetchMessages: 100}).
					Timing(pipeline.Timing{DrainTimeout: time.Millisecond}))
				time.Sleep(time.Minute)
				p := run.part(t, 0)
				if p.Position < c.position || c.position < n && p.Waits != pipeline.WaitReplay {
					t.Errorf("fetching waits for %v at %d, and %d would be replayed", p.Waits, p.Position, p.Replays)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// All is settled between the last tick and the stop, so that the first commit of it is the last one.
func TestLastCommitStoresAllThatThereIsRoomFor(t *testing.T) {
	for _, c := range []struct {
		most    int
		replays int64
	}{{4096, 0}, {64, 6846}} {
		t.Run(fmt.Sprintf("up to %d bytes", c.most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 8000
				log := memory.NewLog("posts", 1)
				for i := range int64(n) {
					log.Append(0, keystrand.Message{Key: fmt.Append(nil, i)})
				}
				src := &roomy{Source: memory.NewSource(memory.Config{}, log), room: 64, most: c.most}
				run := start(t, pipeline.From(src).
					Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
						if m.Offset%8 == 0 {
							return keystrand.RetryAfter(24*time.Hour, nil)
						}
						return nil
					})).
					Timing(pipeline.Timing{CommitInterval: time.Hour, DrainTimeout: time.Millisecond}))
				time.Sleep(time.Minute)
				began := time.Now()
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
				if src.stored.Replays != c.replays || time.Since(began) > time.Second {
					t.Errorf("the last commit has stored %+v after %v, want %d replays", src.stored, time.Since(began), c.replays)
				}
			})
		})
	}
}

func settleInEarlierEpoch(t *testing.T, log *memory.Log, settled *commit.Progress) {
	t.Helper()
	src := memory.NewSource(memory.Config{}, log)
	p, err := src.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settled.Epoch = p.ID().Epoch
	_, err = p.Commit(t.Context(), settled)
	if err := errors.Join(err, p.Release(t.Context()), src.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotTellsWhatAClaimDidNotStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &roomy{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1)), claimed: commit.Stored{Replays: 77}}
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if p := run.part(t, 0); p.Replays != 77 {
			t.Errorf("Replays = %d, want 77", p.Replays)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
