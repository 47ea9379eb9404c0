package pipeline_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// TestReleasedPartitionsAreCollected: a binlog has thousands of tables, and a member comes to own them again and again.
func TestReleasedPartitionsAreCollected(t *testing.T) {
	const partitions = 2_000
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("tables", partitions)
		for n := range int32(partitions) {
			log.Append(n, keyed("k"))
		}
		log.Close()
		src := &forgetful{Source: memory.NewSource(memory.Config{}, log)}
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if s := run.Snapshot(); s.Settled != partitions || len(s.Partitions) != 0 {
			t.Errorf("%d messages are settled and %d partitions owned, want %d and 0", s.Settled, len(s.Partitions), partitions)
		}
		runtime.GC()
		kept := 0
		for _, p := range src.accepted {
			if p.Value() != nil {
				kept++
			}
		}
		if kept > 0 || len(src.accepted) != partitions {
			t.Errorf("%d of %d released partitions are still referenced", kept, len(src.accepted))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// forgetful is a source that knows its partitions by weak pointers, and whose end Accept does not tell.
type forgetful struct {
	source.Source
	accepted []weak.Pointer[passed]
}

type passed struct{ source.Partition }

func (s *forgetful) Accept(ctx context.Context) (source.Partition, error) {
	sp, err := s.Source.Accept(ctx)
	if errors.Is(err, io.EOF) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	p := &passed{sp}
	s.accepted = append(s.accepted, weak.Make(p))
	return p, nil
}
