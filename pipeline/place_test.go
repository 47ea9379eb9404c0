package pipeline_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/commit"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// placing is a source that begins again by commit.Progress.At. It gets the place that it has restored, and stores its own.
type placing struct {
	source.Source
	t    *testing.T
	last string // place that was stored before

	mu     sync.Mutex
	stored []string // places
}

func (s *placing) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	if got := p.Restored().At; got != s.last {
		s.t.Errorf("%v begins at the place %q, want %q", p.ID(), got, s.last)
	}
	return placedPartition{p, s}, nil
}

type placedPartition struct {
	source.Partition
	s *placing
}

func (p placedPartition) Commit(ctx context.Context, g *commit.Progress) (commit.Stored, error) {
	if want := p.Restored().At; g.At != want {
		p.s.t.Errorf("Commit of %v got the place %q, want the restored one, %q", p.ID(), g.At, want)
	}
	own := *g
	own.At = fmt.Sprintf("%d in epoch %d", g.Frontier, g.Epoch)
	stored, err := p.Partition.Commit(ctx, &own)
	if err == nil {
		p.s.mu.Lock()
		p.s.stored = append(p.s.stored, own.At)
		p.s.mu.Unlock()
	}
	return stored, err
}

func TestPlaceOfTheSourceIsRestoredAsItWasStored(t *testing.T) {
	for _, diverts := range []bool{false, true} {
		t.Run(fmt.Sprintf("diverts %v", diverts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, last := memory.NewLog("posts", 1), ""
				for range 3 {
					log.Append(0, keysOf(20, 4)...)
					src := &placing{Source: memory.NewSource(memory.Config{}, log), t: t, last: last}
					b := pipeline.From(src).HandleFunc(nothing)
					if diverts {
						b.Divert(spill.New())
					}
					run := start(t, b)
					synctest.Wait()
					if err := run.stop(); err != nil {
						t.Fatal(err)
					}
					if len(src.stored) == 0 {
						t.Fatal("nothing was committed")
					}
					last = src.stored[len(src.stored)-1]
					if c := log.Group("").Committed(0); c == nil || c.At != last {
						t.Fatalf("committed %+v, want the place %q", c, last)
					}
				}
				if last != "60 in epoch 3" {
					t.Errorf("the last place is %q", last)
				}
			})
		})
	}
}
