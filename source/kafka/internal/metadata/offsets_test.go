package metadata_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

func TestOffsetsAnswersAllQueriesWithOneRequestALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kafkatest.NewBroker(t, kfake.Ports(9092, 9093, 9094), kfake.SeedTopics(6, "t"))
		cl := k.Producer(t)
		begun := time.Now()
		for p := range int32(6) {
			for i := range 10 {
				if err := k.MoveTopicPartition("t", p, p%3); err != nil {
					t.Fatal(err)
				}
				r := kgo.StringRecord("x")
				r.Partition, r.Timestamp = p, begun.Add(time.Duration(i)*time.Second)
				if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := k.DeleteRecords("t", 0, 4); err != nil {
			t.Fatal(err)
		}
		requests := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, TopLevel: true, Count: -1, Observe: true})
		got, err := k.Client.Offsets(t.Context(), "t", map[int32]metadata.Query{
			0: {}, 1: {Latest: true}, 2: {Time: begun.Add(3500 * time.Millisecond)}, 3: {Time: begun.Add(time.Hour)}, 4: {Time: begun.Add(-time.Hour)},
		})
		if want := map[int32]int64{0: 4, 1: 10, 2: 4, 3: 10, 4: 0}; err != nil || !maps.Equal(got, want) {
			t.Errorf("offsets %v, %v, want %v", got, err, want)
		}
		if n := requests.Hits(); n > 4 { // three leaders, and the end of partition 3
			t.Errorf("%d requests", n)
		}
	})
}

func TestOffsetsHealsAndTellsWhatCannotHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kafkatest.NewBroker(t, kfake.SeedTopics(2, "t"))
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: 3})
		if got, err := k.Client.Offsets(t.Context(), "t", map[int32]metadata.Query{0: {}}); err != nil || got[0] != 0 {
			t.Errorf("offsets %v, %v", got, err)
		}
		if _, err := k.Client.Offsets(t.Context(), "t", map[int32]metadata.Query{7: {}}); !errors.Is(err, metadata.ErrUnknownTopic) || !strings.Contains(err.Error(), "partition 7") {
			t.Errorf("error %v", err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *metadata.PermissionError
		if _, err := k.Client.Offsets(t.Context(), "t", map[int32]metadata.Query{0: {}}); !errors.As(err, &denied) || denied.Topic != "t" {
			t.Errorf("error %v", err)
		}
	})
}

func TestEpochEndsAnswersForEveryLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kafkatest.NewBroker(t, kfake.SeedTopics(3, "t"), kfake.NumBrokers(2), kfake.Ports(9092, 9093))
		kafkatest.Produce(t, k.Producer(t), 20) // to partition 0
		ends, err := k.Client.EpochEnds(t.Context(), "t", map[int32]int32{0: 0, 1: 0, 2: 0})
		if want := map[int32]int64{0: 20, 1: 0, 2: 0}; err != nil || !maps.Equal(ends, want) {
			t.Errorf("ends %v, %v, want %v", ends, err, want)
		}
		if ends, err = k.Client.EpochEnds(t.Context(), "t", map[int32]int32{0: 7}); err != nil || len(ends) > 0 {
			t.Errorf("ends %v, %v of an epoch to come, want none", ends, err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetForLeaderEpoch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *metadata.PermissionError
		if _, err := k.Client.EpochEnds(t.Context(), "t", map[int32]int32{0: 0}); !errors.As(err, &denied) || denied.Topic != "t" {
			t.Errorf("error %v", err)
		}
	})
}
