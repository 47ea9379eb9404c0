package fetch

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	kgoplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

func TestReaderEndsWhenItsCredentialsAreRefused(t *testing.T) {
	for name, mechanism := range map[string]sasl.Mechanism{
		"plain": plain.Mechanism{Username: "u", Password: "wrong"},
		"scram": must(scram.Mechanism(scram.SHA256, "u", "wrong")),
		"fine":  plain.Mechanism{Username: "u", Password: "right"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"), kfake.EnableSASL(),
					kfake.User("PLAIN", "u", "right"), kfake.User("SCRAM-SHA-256", "u", "right"))
				k.cfg.Cluster.Transport.SASL = mechanism
				if name != "fine" { // as Kafka answers; kfake alone closes the connection
					k.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
						resp, _ := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
						resp.ErrorCode = int16(kafka.SASLAuthenticationFailed)
						k.KeepControl()
						return resp, nil, true
					})
				}
				if name == "fine" {
					kafkatest.Produce(t, k.Producer(t, kgo.SASL(kgoplain.Auth{User: "u", Pass: "right"}.AsMechanism())), 3)
				}
				got, err := readTo(t, newReader(t, k.cfg, 0), 3)
				if name == "fine" {
					if err != nil || len(got) != 3 {
						t.Errorf("%d messages, %v", len(got), err)
					}
					return
				}
				if _, ok := errors.AsType[*metadata.PermissionError](err); !ok {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestReaderTellsThatTheTopicIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		cl := k.Producer(t)
		kafkatest.Produce(t, cl, 10)
		r := newReader(t, k.cfg, 0)
		if _, err := readTo(t, r, 10); err != nil {
			t.Fatal(err)
		}
		if err := k.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		if _, err := readTo(t, r, 11); !errors.Is(err, metadata.ErrTopicGone) {
			t.Errorf("error %v", err)
		}
	})
}

func TestReaderFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.Ports(9092, 9093, 9094), kfake.SeedTopics(1, "t"))
		cl := k.Producer(t)
		r := newReader(t, k.cfg, 0)
		for i := range int64(9) {
			if err := k.MoveTopicPartition("t", 0, int32(i%3)); err != nil {
				t.Fatal(err)
			}
			kafkatest.Produce(t, cl, 10)
			begun := time.Now()
			if got, err := readTo(t, r, 10*(i+1)); err != nil || len(got) != 10 {
				t.Fatalf("%d messages, %v", len(got), err)
			}
			if d := time.Since(begun); d > time.Second {
				t.Errorf("the move took %v", d)
			}
		}
	})
}

func TestReaderHealsFaultsThatPass(t *testing.T) {
	for _, code := range []kafka.Error{
		kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.ReplicaNotAvailable, kafka.KafkaStorageError,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.OffsetNotAvailable, kafka.UnknownTopicOrPartition,
		kafka.UnknownTopicID, kafka.InconsistentTopicID, kafka.Unknown, kafka.RequestTimedOut, kafka.OffsetOutOfRange,
		kafka.InvalidMessage, kafka.ThrottlingQuotaExceeded, kafka.FetchSessionIDNotFound,
	} {
		t.Run(code.Title(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				n := 0
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					n++
					a := kafkatest.Answer{End: 200}
					if n%3 == 1 {
						a.Code = int16(code)
						return a
					}
					if offset < 200 {
						a.Set = kafkatest.Batch{Base: offset, Last: 9, Records: []int{0, 5}}.Bytes()
					}
					return a
				})
				kafkatest.Produce(t, k.Producer(t), 200) // for ListOffsets
				if got, err := readTo(t, newReader(t, k.cfg, 0), 200); err != nil || len(got) != 40 {
					t.Errorf("%d messages, %v", len(got), err)
				}
			})
		})
	}
}

func TestReaderEndsOnFaultsThatStay(t *testing.T) {
	for _, code := range []kafka.Error{kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed} {
		t.Run(code.Title(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				k.Serve(func(int64, int32) kafkatest.Answer { return kafkatest.Answer{Code: int16(code)} })
				_, err := readTo(t, newReader(t, k.cfg, 0), 1)
				var denied *metadata.PermissionError
				if !errors.As(err, &denied) || !errors.Is(err, code) {
					t.Errorf("error %v", err)
				}
				t.Log(err)
			})
		})
	}
}

func TestReaderReconnectsAfterTheBrokerWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 10)
		r := newReader(t, k.cfg, 0)
		if _, err := readTo(t, r, 10); err != nil {
			t.Fatal(err)
		}
		var lost atomic.Bool
		lost.Store(true)
		k.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			if !lost.Load() {
				return nil, nil, false
			}
			k.KeepControl()
			return nil, errors.New("away"), true // the connection is closed
		})
		defer later(30*time.Second, func() {
			lost.Store(false)
			kafkatest.Produce(t, k.Producer(t), 10)
		})()
		begun := time.Now()
		if got, err := readTo(t, r, 20); err != nil || len(got) != 10 {
			t.Errorf("%d messages, %v", len(got), err)
		}
		if d := time.Since(begun); d > 34*time.Second {
			t.Errorf("found the broker after %v", d)
		}
	})
}

// A response that never comes must not hold the partition for ever (#1276, #621, #423, #387, #1036, #1088).
func TestReaderGivesUpAConnectionThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 10)
		k.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, true })
		begun := time.Now()
		if got, err := readTo(t, newReader(t, k.cfg, 0), 10); err != nil || len(got) != 10 {
			t.Fatalf("%d messages, %v", len(got), err)
		}
		if d := time.Since(begun); d < 10*time.Second || d > 12*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestWatchdogTellsOnceAndShakesAPartitionBelowItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var largest atomic.Int32
		k.Serve(func(offset int64, maxBytes int32) kafkatest.Answer {
			largest.Store(maxBytes)
			a := kafkatest.Answer{End: 10}
			if maxBytes >= 4<<20 {
				a.Set = kafkatest.Batch{Base: offset, Last: int32(9 - offset), Records: []int{0}}.Bytes()
			}
			return a
		})
		told := &logs{}
		k.cfg.Log = told.logger()
		r := newReader(t, k.cfg, 0)
		go func() {
			time.Sleep(29 * time.Second)
			if r.Stalled() {
				t.Error("stalled after 29 s")
			}
			time.Sleep(2 * time.Second)
			if !r.Stalled() {
				t.Error("not stalled after 31 s")
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := r.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if r.Stalled() {
			t.Error("stalled after it moved")
		}
		if n := told.count("kafka: partition stalled below its end"); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestWatchdogDoesNotBlameACallerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 1000)
		k.cfg.MaxBytes = 100
		r := newReader(t, k.cfg, 0)
		for range 5 {
			if err := r.Read(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if r.Stalled() {
				t.Fatal("stalled")
			}
		}
	})
}
