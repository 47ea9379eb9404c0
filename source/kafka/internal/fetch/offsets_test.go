package fetch

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOffsetsAnswersAllQueriesWithOneRequestALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.Ports(9092, 9093, 9094), kfake.SeedTopics(6, "t"))
		cl := k.client(t)
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
		got, err := Offsets(t.Context(), k.cfg, "t", map[int32]Query{
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
		k := newBroker(t, kfake.SeedTopics(2, "t"))
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: 3})
		if got, err := Offsets(t.Context(), k.cfg, "t", map[int32]Query{0: {}}); err != nil || got[0] != 0 {
			t.Errorf("offsets %v, %v", got, err)
		}
		if _, err := Offsets(t.Context(), k.cfg, "t", map[int32]Query{7: {}}); !errors.Is(err, ErrUnknownTopic) || !strings.Contains(err.Error(), "partition 7") {
			t.Errorf("error %v", err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *PermissionError
		if _, err := Offsets(t.Context(), k.cfg, "t", map[int32]Query{0: {}}); !errors.As(err, &denied) || denied.Topic != "t" {
			t.Errorf("error %v", err)
		}
	})
}

func TestEpochEndsAnswersForEveryLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(3, "t"), kfake.NumBrokers(2), kfake.Ports(9092, 9093))
		produce(t, k.client(t), 20) // to partition 0
		ends, err := EpochEnds(t.Context(), k.cfg, "t", map[int32]int32{0: 0, 1: 0, 2: 0})
		if want := map[int32]int64{0: 20, 1: 0, 2: 0}; err != nil || !maps.Equal(ends, want) {
			t.Errorf("ends %v, %v, want %v", ends, err, want)
		}
		if ends, err = EpochEnds(t.Context(), k.cfg, "t", map[int32]int32{0: 7}); err != nil || len(ends) > 0 {
			t.Errorf("ends %v, %v of an epoch to come, want none", ends, err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetForLeaderEpoch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *PermissionError
		if _, err := EpochEnds(t.Context(), k.cfg, "t", map[int32]int32{0: 0}); !errors.As(err, &denied) || denied.Topic != "t" {
			t.Errorf("error %v", err)
		}
	})
}

func TestTopicsNamesWhatIsMissingAndCreatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(3, "t"), kfake.SeedTopics(5, "u"), kfake.AllowAutoTopicCreation())
		counts, err := Partitions(t.Context(), k.cfg, []string{"t", "absent", "u", "t"})
		if !errors.Is(err, ErrUnknownTopic) || !strings.Contains(err.Error(), "absent") || strings.Contains(err.Error(), "topic u") {
			t.Errorf("error %v", err)
		}
		if want := map[string]int32{"t": 3, "u": 5}; !maps.Equal(counts, want) {
			t.Errorf("partitions %v, want %v", counts, want)
		}
		if k.TopicInfo("absent") != nil {
			t.Error("asking has made the topic")
		}
		go func() {
			time.Sleep(2 * time.Second) // as on a broker that has just started
			if err := k.CreateTopic("late", 1, nil); err != nil {
				t.Error(err)
			}
		}()
		if counts, err = Partitions(t.Context(), k.cfg, []string{"late"}); err != nil || counts["late"] != 1 {
			t.Errorf("partitions %v, %v", counts, err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "u", Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *PermissionError
		if _, err = Partitions(t.Context(), k.cfg, []string{"t", "u"}); !errors.As(err, &denied) || denied.Topic != "u" {
			t.Errorf("error %v", err)
		}
	})
}

func TestTopicsEndsWithItsContextAndTellsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.cfg.Brokers = []string{"127.0.0.1:1"}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := Partitions(ctx, k.cfg, []string{"t"})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("error %v", err)
		}
		t.Log(err)
	})
}

func TestOldestBrokersAreSpokenTo(t *testing.T) {
	for name, v := range map[string]int16{"fetch 4": 4, "fetch 6": 6, "fetch 8": 8, "fetch 10": 10, "fetch 11": 11, "fetch 12": 12} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vs := fetchBelow(v + 1)
				vs.SetMaxKeyVersion(int16(kmsg.Metadata), v) // 4 to 12, by chance the same range
				vs.SetMaxKeyVersion(int16(kmsg.ListOffsets), min(2+v/4, 5))
				k := newBroker(t, kfake.SeedTopics(1, "t"), kfake.MaxVersions(vs))
				produce(t, k.client(t), 20)
				if got, err := readTo(t, newReader(t, k.cfg, 5), 20); err != nil || len(got) != 15 {
					t.Errorf("%d messages, %v", len(got), err)
				}
				end, err := Offsets(t.Context(), k.cfg, "t", map[int32]Query{0: {Latest: true}})
				if err != nil || end[0] != 20 {
					t.Errorf("end %v, %v", end, err)
				}
			})
		})
	}
}

func TestFatalErrorsAreThoseThatCannotHeal(t *testing.T) {
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: false, kafka.Unknown: false, kafka.SASLAuthenticationFailed: true,
		kafka.UnsupportedSASLMechanism: true, kafka.TopicAuthorizationFailed: true, kafka.UnsupportedVersion: true,
		errors.New("connection reset"): false, context.DeadlineExceeded: false, ErrRecreated: true,
	} {
		if got := Fatal(err); got != want {
			t.Errorf("%v: fatal %v", err, got)
		}
	}
}
