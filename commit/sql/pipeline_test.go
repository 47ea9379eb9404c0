package sql_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// stored is a source whose progress is in a store.
type stored struct {
	source.Source
	store commit.Store
}

func (s stored) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	claimed, err := s.store.Claim(ctx, p.ID().Stream, p.ID().Partition, p.ID().Epoch)
	return &storedPartition{p, s.store, claimed}, err
}

type storedPartition struct {
	source.Partition
	store   commit.Store
	claimed *commit.Progress
}

// Commit stores progress, then also in memory, where the next owner begins.
func (p *storedPartition) Commit(ctx context.Context, g *commit.Progress) (commit.Stored, error) {
	own := *g
	own.Epoch = p.claimed.Epoch
	if err := p.store.Save(ctx, p.ID().Stream, p.ID().Partition, &own); err != nil {
		return commit.Stored{}, err
	}
	return p.Partition.Commit(ctx, g)
}

// Handlers go on without the store. What is settled ahead of a slow message stays within MaxReplay, since no commit has it. A
// partition that another process has claimed is lost, and the others are not.
func TestPipelineGoesOnWhileItsStoreIsAway(t *testing.T) {
	db := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		const maxReplay, few, many = 500, 100, 2000
		pool, err := db.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pool.Close() }()
		s := db.store(t, pool, commitsql.Config{})
		log := memory.NewLog("orders", 2)
		produce := func(n int) {
			for partition := range int32(2) {
				for i := range n {
					log.Append(partition, keystrand.Message{Key: strconv.AppendInt(nil, int64(i), 10)})
				}
			}
		}
		var handled [2]atomic.Int64
		slow := make(chan struct{}) // closed when the first messages that come without the store are handled
		p, err := pipeline.From(stored{memory.NewSource(memory.Config{}, log), s}).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == few {
					<-slow
				}
				handled[m.Partition].Add(1)
				return nil
			})).
			Limits(pipeline.Limits{Workers: 4, MaxReplay: maxReplay, FetchMessages: 64}).Build()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		produce(few)
		time.Sleep(3 * time.Second)

		tx, err := pool.BeginTx(t.Context(), nil) // another process locks the file
		if err != nil {
			t.Fatal(err)
		}
		produce(many)
		time.Sleep(30 * time.Second)
		for _, pt := range p.Snapshot().Partitions {
			if n := handled[pt.ID.Partition].Load(); n != few+maxReplay-1 || pt.Waits != pipeline.WaitReplay || pt.Committed != few || pt.CommitErr == nil {
				t.Errorf("without the store: %d handled, fetching waits for %v, committed %d, error %v; want %d handled, MaxReplay, %d and an error",
					n, pt.Waits, pt.Committed, pt.CommitErr, few+maxReplay-1, few)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		close(slow)
		time.Sleep(10 * time.Second)
		for _, pt := range p.Snapshot().Partitions {
			if pt.Committed != few+many || pt.CommitErr != nil {
				t.Errorf("with the store: committed %d, error %v; want %d", pt.Committed, pt.CommitErr, few+many)
			}
		}

		if got := claim(t, s, 0); got.Frontier != few+many {
			t.Errorf("another process has claimed %+v, want the frontier %d", *got, few+many)
		}
		produce(1)
		time.Sleep(3 * time.Second)
		for _, pt := range p.Snapshot().Partitions {
			if lost := pt.ID.Epoch > 1; lost != (pt.ID.Partition == 0) {
				t.Errorf("%v after another process has claimed partition 0", pt.ID)
			}
		}
		if n := handled[1].Load(); n != few+many+1 {
			t.Errorf("%d messages of the other partition were handled, want %d", n, few+many+1)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
