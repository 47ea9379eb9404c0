package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// A pipeline without messages whose source cannot read is not said to wait for the source's next message.
func TestTroubleOfTheSourceIsTheBottleneckWhenNothingElseIs(t *testing.T) {
	trouble := []source.Trouble{{What: "fetch", Err: errors.New("not leader"), Since: time.Now()}}
	for _, c := range []struct {
		name     string
		messages int
		report   source.Report
		want     pipeline.Bottleneck
		says     string
	}{
		{"no trouble", 0, source.Report{Ready: true}, pipeline.BottleneckSource, "source"},
		{"an operation fails", 0, source.Report{Ready: true, Trouble: trouble}, pipeline.BottleneckTrouble, "trouble"},
		{"it cannot join", 0, source.Report{Trouble: trouble}, pipeline.BottleneckTrouble, "trouble"},
		{"a partition is stalled", 0, source.Report{Ready: true, Stalled: []source.ID{{Stream: "posts"}}}, pipeline.BottleneckTrouble, "trouble"},
		{"messages wait for their key", 10, source.Report{Ready: true, Trouble: trouble}, pipeline.BottleneckOrder, "order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(c.messages, 1)...)
				run := start(t, pipeline.From(&reporting{memory.NewSource(memory.Config{}, log), c.report}).Handle(keystrand.HandlerFunc(hold)).
					Timing(pipeline.Timing{DrainTimeout: time.Second}))
				time.Sleep(time.Second)
				if b := run.Snapshot().Bottleneck; b != c.want || b.String() != c.says {
					t.Errorf("bottleneck %q, want %q", b, c.says)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// wrapping is a source that wraps its partitions.
type wrapping struct {
	source.Source
	wrap func(source.Partition) source.Partition
}

func (s wrapping) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return s.wrap(p), nil
}

// unknownEndPartition does not know the end of its log.
type unknownEndPartition struct{ source.Partition }

func (unknownEndPartition) End() (int64, bool) { return 0, false }

// An unknown end is no lag of 0.
func TestUnknownEndIsAnUnknownLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		run := start(t, pipeline.From(wrapping{memory.NewSource(memory.Config{}, log), func(p source.Partition) source.Partition {
			return unknownEndPartition{p}
		}}).Handle(keystrand.HandlerFunc(nothing)))
		time.Sleep(time.Second)
		if p := run.part(t, 0); p.End != -1 || p.Lag != -1 || p.Frontier != 10 {
			t.Errorf("end %d, lag %d, frontier %d; want -1, -1, 10", p.End, p.Lag, p.Frontier)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
