package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// hiding wraps a source with partitions whose logs end later than Fetch can return, or at an unknown offset.
type hiding struct {
	source.Source
	more  int64
	known bool
}

type hidingPartition struct {
	source.Partition
	source *hiding
}

func (s *hiding) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	return &hidingPartition{p, s}, err
}

func (p *hidingPartition) End() (int64, bool) {
	l, ok := p.Partition.(source.Lagger)
	if !ok || !p.source.known {
		return 0, false
	}
	return l.End()
}

func (p *hidingPartition) LogEnd() (int64, bool) {
	end, known := p.End()
	return end + p.source.more, known
}

func TestSnapshotTellsTheLagToBothEnds(t *testing.T) {
	for _, c := range []struct {
		known                     bool
		end, lag, logEnd, allLags int64
	}{{true, 10, 0, 1010, 1000}, {false, -1, -1, -1, -1}} {
		t.Run(fmt.Sprintf("known %v", c.known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(10, 10)...)
				run := start(t, pipeline.From(&hiding{memory.NewSource(memory.Config{}, log), 1000, c.known}).Handle(keystrand.HandlerFunc(nothing)))
				time.Sleep(time.Second)
				if p := run.part(t, 0); p.End != c.end || p.Lag != c.lag || p.LogEnd != c.logEnd || p.LogLag != c.allLags {
					t.Errorf("End %d, Lag %d, LogEnd %d, LogLag %d, want %+v", p.End, p.Lag, p.LogEnd, p.LogLag, c)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
