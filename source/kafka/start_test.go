package kafka_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestStart(t *testing.T) {
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		start     kafka.Start
		committed int64 // -1: nothing
		want      int64
	}{
		{"committed", kafka.Committed(), 4, 4},
		{"committed, nothing is", kafka.Committed(), -1, 0},
		{"committed or latest", kafka.CommittedOrLatest(), 4, 4},
		{"committed or latest, nothing is", kafka.CommittedOrLatest(), -1, 10},
		{"earliest", kafka.Earliest(), 4, 0},
		{"latest", kafka.Latest(), 4, 10},
		{"at a time", kafka.At(noon), 4, 5},
		{"at a future time", kafka.At(noon.Add(time.Hour)), 4, 10},
		{"given", kafka.Offsets(map[string]map[int32]int64{"t": {0: 7}}), 4, 7},
		{"given for another", kafka.Offsets(map[string]map[int32]int64{"t": {3: 7}}), 4, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produceAt(noon.Add(-time.Hour), 5)
				w.produceAt(noon, 5)
				if c.committed >= 0 {
					w.commitAs("g", 0, c.committed, "")
				}
				s := w.source("g", func(cfg *kafka.Config) { cfg.Start = c.start })
				ps := w.accept(s, 1)
				if got := ps[0].Restored().Frontier; got != c.want {
					t.Errorf("starts at %d, want %d", got, c.want)
				}
				if got, _ := w.stored("g", 0); got != c.want {
					t.Errorf("%d is committed, want %d: a restart would start elsewhere", got, c.want)
				}
				w.close(s, ps)
			})
		})
	}
}

func (w *world) produceAt(at time.Time, n int) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	for range n {
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: w.topic, Timestamp: at, Value: []byte("x")}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A start that overrides committed progress must not apply again when a partition moves, or messages are skipped.
func TestStartAppliesOnceToAPartition(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 4)
		w.produce(1, 4)
		latest := func(c *kafka.Config) { c.Start = kafka.Latest() }
		a, b := w.source("g", latest), w.source("g", latest)
		ps := w.accept(a, 2)
		w.produce(0, 6)
		w.produce(1, 6)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		for _, all := range []map[int32]source.Partition{as, bs} {
			for _, p := range all {
				if f := p.Restored().Frontier; f != 4 {
					t.Errorf("%v starts at %d, want 4: messages are skipped", p.ID(), f)
				}
			}
		}
		w.close(a, as)
		w.close(b, bs)
	})
}

// Latest means the end of the logs at the start of the source.
func TestPartitionsMadeLaterAreReadFromTheirFirstMessage(t *testing.T) {
	for _, start := range []kafka.Start{kafka.Committed(), kafka.CommittedOrLatest(), kafka.Latest()} {
		t.Run(start.String(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 3)
				s := w.source("g", func(c *kafka.Config) { c.Start = start })
				ps := w.accept(s, 1)
				cl := w.client()
				defer cl.Close()
				if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 1, w.topic); err != nil {
					t.Fatal(err)
				}
				w.produce(1, 5)
				w.follow(ps)
				ps = w.accept(s, 2)
				if f := ps[1].Restored().Frontier; f != 0 {
					t.Errorf("the new partition starts at %d, want 0: messages are skipped", f)
				}
				w.close(s, ps)
			})
		})
	}
}

// A broker forgets the commits of a deleted topic. The new topic did not exist at the start of the source.
func TestTopicMadeAgainIsReadFromItsFirstMessage(t *testing.T) {
	for _, start := range []kafka.Start{
		kafka.Committed(), kafka.CommittedOrLatest(), kafka.Latest(), kafka.Offsets(map[string]map[int32]int64{"t": {0: 3}}),
	} {
		t.Run(start.String(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 3)
				s := w.source("g", func(c *kafka.Config) { c.Start = start })
				ps := w.accept(s, 1)
				if err := errors.Join(w.cluster.DeleteTopic(w.topic), w.cluster.CreateTopic(w.topic, 1, nil)); err != nil {
					t.Fatal(err)
				}
				if offset, _ := w.stored("g", 0); offset != -1 {
					t.Fatalf("offset %d is still committed", offset)
				}
				w.produce(0, 5)
				var err error
				for err == nil { // from the first message on, with some starts
					err = ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1000})
				}
				if !errors.Is(err, source.ErrLeaving) {
					t.Fatalf("Fetch = %v, want ErrLeaving", err)
				}
				w.release(ps[0])
				ps = w.accept(s, 1)
				if f := ps[0].Restored().Frontier; f != 0 {
					t.Errorf("the new log starts at %d, want 0: messages are skipped", f)
				}
				w.close(s, ps)
			})
		})
	}
}

func TestOutOfRangePolicies(t *testing.T) {
	for _, c := range []struct {
		name string
		what kafka.OutOfRange
		want int64 // -1: an error
	}{{"fail", kafka.OutOfRangeFail, -1}, {"earliest", kafka.OutOfRangeEarliest, 0}, {"latest", kafka.OutOfRangeLatest, 10}} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 10)
				w.commitAs("g", 0, 500, "")
				s := w.source("g", func(cfg *kafka.Config) { cfg.OutOfRange = c.what })
				ps := w.accept(s, 1)
				err := ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 10, MaxBytes: 1000})
				if c.want < 0 {
					if err == nil || !strings.Contains(err.Error(), "offset 500") {
						t.Errorf("Fetch = %v, want an error that names offset 500", err)
					}
					w.close(s, ps)
					return
				}
				if !errors.Is(err, source.ErrLeaving) {
					t.Fatalf("Fetch = %v, want ErrLeaving: the position decreases, so the ownership ends", err)
				}
				if l := <-ps[0].Leaving(); !l.Lost {
					t.Errorf("leave = %+v, want lost", l)
				}
				w.release(ps[0])
				ps = w.accept(s, 1)
				if got := ps[0].Restored().Frontier; got != c.want {
					t.Errorf("starts at %d, want %d", got, c.want)
				}
				w.close(s, ps)
			})
		})
	}
}
