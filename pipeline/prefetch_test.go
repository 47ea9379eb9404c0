package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// prefetching is a source that claims to hold messages.
type prefetching struct {
	source.Source
	limits []int
	early  bool // a limit came before the first Accept
	held   int64
}

func (s *prefetching) LimitPrefetch(bytes int) { s.limits = append(s.limits, bytes) }
func (s *prefetching) Prefetched() int64       { return s.held }

func (s *prefetching) Accept(ctx context.Context) (source.Partition, error) {
	s.early = s.early || len(s.limits) > 0
	return s.Source.Accept(ctx)
}

func TestPrefetchIsLimitedBeforeAcceptAndShown(t *testing.T) {
	for _, c := range []struct {
		limits pipeline.Limits
		want   int
	}{
		{pipeline.Limits{}, 64 << 20},
		{pipeline.Limits{InFlightBytes: 8_000_000}, 2_000_000},
		{pipeline.Limits{InFlightBytes: 1}, 1},
		{pipeline.Limits{PrefetchBytes: 5_000}, 5_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			src := &prefetching{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1)), held: 4_000}
			run := start(t, pipeline.From(src).HandleFunc(nothing).Limits(c.limits))
			synctest.Wait()
			if len(src.limits) != 1 || src.limits[0] != c.want || !src.early {
				t.Errorf("%+v: the source got the limits %v, before Accept %v; want %d once, before it", c.limits, src.limits, src.early, c.want)
			}
			if s := run.Snapshot(); s.Prefetched != 4_000 || s.PrefetchLimit != c.want {
				t.Errorf("the snapshot shows %d of %d bytes, want 4000 of %d", s.Prefetched, s.PrefetchLimit, c.want)
			}
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSnapshotShowsNoPrefetchLimitWithoutPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, memory.NewLog("posts", 1))).HandleFunc(nothing))
		synctest.Wait()
		if s := run.Snapshot(); s.Prefetched != 0 || s.PrefetchLimit != 0 {
			t.Errorf("the snapshot shows %d of %d bytes for a source that holds none", s.Prefetched, s.PrefetchLimit)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
