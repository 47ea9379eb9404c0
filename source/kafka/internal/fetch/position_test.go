package fetch

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// Reader retries for ever on a position above the end, and goes to the start in silence on one below the start.
func TestReaderTellsAPositionOutOfRange(t *testing.T) {
	for name, c := range map[string]struct {
		start  int64
		policy OutOfRange
		to     int64 // -1: an error
	}{
		"below, fail":     {10, Fail, -1},
		"below, earliest": {10, Earliest, 60},
		"below, latest":   {10, Latest, 100},
		"above, fail":     {500, Fail, -1},
		"above, earliest": {500, Earliest, -1}, // would go back
		"above, latest":   {500, Latest, -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				cl := k.Producer(t)
				kafkatest.Produce(t, cl, 100)
				if err := k.DeleteRecords("t", 0, 60); err != nil {
					t.Fatal(err)
				}
				var from, to atomic.Int64
				k.cfg.OutOfRange = c.policy
				k.cfg.OnReset = func(a, b int64) { from.Store(a); to.Store(b) }
				r := newReader(t, k.cfg, c.start)
				if c.to < 0 {
					var out *OutOfRangeError
					_, err := readTo(t, r, 1000)
					if !errors.As(err, &out) || out.Offset != c.start || out.First != 60 || out.Last != 100 || out.Topic != "t" {
						t.Fatalf("error %v", err)
					}
					if _, again := readTo(t, r, 1000); !errors.Is(again, err) {
						t.Errorf("the next Read returned %v", again)
					}
					return
				}
				defer later(time.Second, func() { kafkatest.Produce(t, cl, 1) })()
				got, err := readTo(t, r, 101)
				if err != nil || got[0].Offset != c.to || len(got) != int(101-c.to) {
					t.Errorf("offsets %v, %v", offsetsOf(got), err)
				}
				if from.Load() != c.start || to.Load() != c.to {
					t.Errorf("told of a reset from %d to %d", from.Load(), to.Load())
				}
			})
		})
	}
}

// Reading silently continues in a topic that was deleted and created again, once it is longer than the position.
func TestRecreatedLogIsNotSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		opts []kfake.Opt
		open bool // the reader waits at the end while it happens
	}{
		"while reading":                  {nil, true},
		"between two readers":            {nil, false},
		"while reading, no ids in Fetch": {[]kfake.Opt{kfake.MaxVersions(fetchBelow(13))}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, append(c.opts, kfake.SeedTopics(1, "t"))...)
				cl := k.Producer(t)
				kafkatest.Produce(t, cl, 100)
				id, err := logID(t, k.cfg, "t")
				if err != nil || id == "" {
					t.Fatalf("identity %q, %v", id, err)
				}
				k.cfg.LogID = id
				r := newReader(t, k.cfg, 0)
				if got, err := readTo(t, r, 100); err != nil || len(got) != 100 || r.LogID() != id {
					t.Fatalf("%d messages, %v, identity %q", len(got), err, r.LogID())
				}
				if !c.open {
					r.Close()
					r = newReader(t, k.cfg, 100)
				}
				if err := errors.Join(k.DeleteTopic("t"), k.CreateTopic("t", 1, nil)); err != nil {
					t.Fatal(err)
				}
				kafkatest.Produce(t, k.Producer(t), 200)
				if got, err := readTo(t, r, 101); !errors.Is(err, metadata.ErrRecreated) || len(got) > 0 {
					t.Fatalf("%d messages of the new log at offset 100 and above, %v", len(got), err)
				}
				again, err := logID(t, k.cfg, "t")
				if err != nil || again == id {
					t.Fatalf("the new log has the identity %q, %v", again, err)
				}
				k.cfg.LogID = again
				if got, err := readTo(t, newReader(t, k.cfg, 0), 200); err != nil || len(got) != 200 {
					t.Errorf("%d messages of the new log, %v", len(got), err)
				}
			})
		})
	}
}

// An unclean election removes records that were read. Once the log has grown again, the library continues after the gap.
func TestReaderTellsThatTheLogWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 200) // for ListOffsets
		k.ServeEpochs(func(p *kmsg.FetchRequestTopicPartition) kafkatest.Answer {
			switch {
			case p.FetchOffset == 0:
				return kafkatest.Answer{Set: kafkatest.Batch{Base: 0, Last: 99, Records: []int{0}, Epoch: 7}.Bytes(), End: 200}
			case p.LastFetchedEpoch == 7: // which ended at 50, says the new leader
				return kafkatest.Answer{Cut: 50, End: 200}
			}
			return kafkatest.Answer{Set: kafkatest.Batch{Base: 100, Last: 99, Records: []int{0}, Epoch: 8}.Bytes(), End: 200}
		})
		k.cfg.OutOfRange = Earliest
		got, err := readTo(t, newReader(t, k.cfg, 0), 200)
		var out *OutOfRangeError
		if !errors.As(err, &out) || out.Offset != 100 || out.Last != 50 || len(got) != 1 {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}

// The same while nobody reads: the next reader begins with the epoch that was committed.
func TestReaderTellsThatTheLogWasCutBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 200)
		k.ServeEpochs(func(p *kmsg.FetchRequestTopicPartition) kafkatest.Answer {
			if p.LastFetchedEpoch == 7 {
				return kafkatest.Answer{Cut: 50, End: 200}
			}
			return kafkatest.Answer{Set: kafkatest.Batch{Base: 100, Last: 99, Records: []int{0}, Epoch: 8}.Bytes(), End: 200}
		})
		r := newReader(t, k.cfg, 100)
		r.Expect(7)
		got, err := readTo(t, r, 200)
		var out *OutOfRangeError
		if !errors.As(err, &out) || out.Offset != 100 || out.Last != 50 || len(got) != 0 {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}

// A broker that has deleted all records of an epoch answers a question about it with OffsetOutOfRange.
func TestReaderIsNotStoppedByAnEpochThatRetentionHasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 200)
		k.ServeEpochs(func(p *kmsg.FetchRequestTopicPartition) kafkatest.Answer {
			switch {
			case p.FetchOffset == 0:
				return kafkatest.Answer{Set: kafkatest.Batch{Base: 0, Last: 99, Records: []int{0}, Epoch: 7}.Bytes(), End: 200}
			case p.LastFetchedEpoch == 7:
				return kafkatest.Answer{Code: int16(kafka.OffsetOutOfRange)}
			}
			return kafkatest.Answer{Set: kafkatest.Batch{Base: 100, Last: 99, Records: []int{0}, Epoch: 8}.Bytes(), End: 200}
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 200); err != nil || len(got) != 2 {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}
