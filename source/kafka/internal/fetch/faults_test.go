package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// The known faults of the library's ways to read, one test each. What they do there stands in the comment.

// Conn.ReadBatch and Reader panic ("markRead: negative count", #874, #1416) on three empty batches in a row, which the
// cleaner leaves for every idempotent producer.
func TestReaderSurvivesManyEmptyBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var bs []kafkatest.Batch
		for i := range int64(40) {
			bs = append(bs, kafkatest.Batch{Base: i * 5, Last: 4})
		}
		bs = append(bs, kafkatest.Batch{Base: 200, Last: 1, Records: []int{0, 1}}, kafkatest.Batch{Base: 202, Last: 9})
		k.ServeLog(212, 0, bs...)
		got, err := readTo(t, newReader(t, k.cfg, 0), 212)
		if want := []int64{200, 201}; err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, want %v", offsetsOf(got), err, want)
		}
	})
}

// Client.Fetch forgets the last offset delta (record_v2.go), so that a loop over it asks for ever for a batch whose
// tail was compacted away when that is all that comes.
func TestReaderPassesCompactedTails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.ServeLog(111, 1,
			kafkatest.Batch{Base: 0, Last: 9, Records: []int{0, 2}}, // tail gone
			kafkatest.Batch{Base: 10, Last: 89},                     // emptied
			kafkatest.Batch{Base: 100, Last: 9, Records: []int{9}},  // head gone
			kafkatest.Batch{Base: 110, Last: 0, Records: []int{0}})
		r := newReader(t, k.cfg, 0)
		got, err := readTo(t, r, 111)
		if want := []int64{0, 2, 109, 110}; err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, want %v", offsetsOf(got), err, want)
		}
	})
}

func TestReaderReadsAnyCompactedLogExactly(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) // any; printed below
	for i := range uint64(40) {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, i))
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				var bs []kafkatest.Batch
				var want []int64
				end := int64(0)
				for range 12 {
					size := 1 + rng.Int64N(300)
					if rng.IntN(6) == 0 { // removed by the cleaner
						end += size
						continue
					}
					b := kafkatest.Batch{Base: end, Last: int32(size - 1)}
					if rng.IntN(4) > 0 {
						for d := range size {
							if rng.IntN(3) == 0 {
								b.Records = append(b.Records, int(d))
							}
						}
					}
					bs = append(bs, b)
					end += size
				}
				bs = append(bs, kafkatest.Batch{Base: end, Records: []int{0}})
				start := rng.Int64N(end)
				for _, b := range bs {
					for _, d := range b.Records {
						if o := b.Base + int64(d); o >= start {
							want = append(want, o)
						}
					}
				}
				k.ServeLog(end+1, rng.IntN(4), bs...)
				got, err := readTo(t, newReader(t, k.cfg, start), end+1)
				if err != nil || !slices.Equal(offsetsOf(got), want) {
					t.Errorf("seed %d %d: %v\n got %v\nwant %v", seed, i, err, offsetsOf(got), want)
				}
			})
		})
	}
}

// A broker answers with the whole batch that holds the offset; Client.Fetch returns the records below it too.
func TestReaderDropsRecordsBelowTheOffsetAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 100)
		got, err := readTo(t, newReader(t, k.cfg, 60), 100)
		if err != nil || len(got) != 40 || got[0].Offset != 60 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

// Conn and Reader return control markers and aborted records as messages even when asked for committed ones (#1332).
// Two producers whose transactions interleave; the list of aborted ones is not in order, as Redpanda sends it.
func TestReaderReturnsNoAbortedRecordAndNoMarker(t *testing.T) {
	const tx = kafkatest.AttrTransactional
	log := []kafkatest.Batch{
		{Base: 0, Records: []int{0}, Producer: 1, Attrs: tx},             // aborted
		{Base: 1, Records: []int{0}, Producer: 2, Attrs: tx},             // committed
		{Base: 2, Records: []int{0}, Producer: -1},                       // no transaction
		{Base: 3, Last: 1, Records: []int{0, 1}, Producer: 1, Attrs: tx}, // aborted
		kafkatest.Marker(5, 2, true),
		{Base: 6, Records: []int{0}, Producer: 1, Attrs: tx}, // aborted
		kafkatest.Marker(7, 1, false),
		{Base: 8, Records: []int{0}, Producer: 1, Attrs: tx}, // committed
		{Base: 9, Records: []int{0}, Producer: 2, Attrs: tx}, // aborted
		kafkatest.Marker(10, 1, true),
		{Base: 11, Last: 3, Producer: 2, Attrs: tx}, // emptied
		kafkatest.Marker(15, 2, false),
		// idempotent only
		{Base: 16, Records: []int{0}, Producer: 2},
		// an emptied control batch
		{Base: 17, Last: 0, Producer: 7, Attrs: kafkatest.AttrControl | tx, Records: nil},
		// committed
		{Base: 18, Last: 5, Producer: 1, Attrs: tx, Records: []int{3}, Epoch: 4},
	}
	aborted := [][2]int64{{2, 9}, {1, 0}}
	for name, per := range map[string]int{"in one response": 0, "batch by batch": 1, "three batches a response": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					a := kafkatest.Answer{End: 24}
					n := 0
					for _, b := range log {
						if b.Base+int64(b.Last) >= offset && (per == 0 || n < per) {
							a.Set = append(a.Set, b.Bytes()...)
							n++
						}
					}
					for _, ab := range aborted { // those whose marker is not below the offset
						if ab[0] == 1 && offset <= 7 || ab[0] == 2 && offset <= 15 {
							a.Aborted = append(a.Aborted, ab)
						}
					}
					return a
				})
				got, err := readTo(t, newReader(t, k.cfg, 0), 24)
				if want := []int64{1, 2, 8, 16, 21}; err != nil || !slices.Equal(offsetsOf(got), want) {
					t.Errorf("committed: offsets %v, %v, want %v", offsetsOf(got), err, want)
				}
				k.cfg.Cluster.ReadUncommitted = true
				got, err = readTo(t, newReader(t, k.cfg, 0), 24)
				if want := []int64{0, 1, 2, 3, 4, 6, 8, 9, 16, 21}; err != nil || !slices.Equal(offsetsOf(got), want) {
					t.Errorf("uncommitted: offsets %v, %v, want %v", offsetsOf(got), err, want)
				}
			})
		})
	}
}

func TestReaderAgreesWithFranzGoOnTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		want := transactions(t, func(opts ...kgo.Opt) *kgo.Client { return k.Producer(t, opts...) })
		r := newReader(t, k.cfg, 0)
		got, err := readTo(t, r, want[len(want)-1]+1)
		if err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, franz-go has %v", offsetsOf(got), err, want)
		}
	})
}

// transactions makes two interleaved producers commit and abort, and returns the offsets that franz-go reads.
func transactions(t *testing.T, client func(...kgo.Opt) *kgo.Client) []int64 {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprint(time.Now().UnixNano())
	a, b := client(kgo.TransactionalID(name+"a")), client(kgo.TransactionalID(name+"b"))
	put := func(cl *kgo.Client, n int) {
		for range n {
			must(cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr())
		}
	}
	committed := 0
	for i := range 4 {
		must(a.BeginTransaction())
		put(a, 2)
		must(b.BeginTransaction())
		put(b, 1)
		put(a, 1)
		must(b.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)))
		put(a, 1)
		must(a.EndTransaction(ctx, kgo.TransactionEndTry(i%3 == 0)))
		if i%2 == 0 {
			committed++
		}
		if i%3 == 0 {
			committed += 4
		}
	}
	must(b.BeginTransaction())
	put(b, 1)
	must(b.EndTransaction(ctx, kgo.TryCommit))
	committed++
	c := client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topicOf(a): {0: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var want []int64
	for len(want) < committed && ctx.Err() == nil {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { want = append(want, r.Offset) })
	}
	if len(want) != committed {
		t.Fatalf("franz-go read %d committed records, want %d", len(want), committed)
	}
	return want
}

func topicOf(cl *kgo.Client) string {
	topic, _ := cl.OptValue(kgo.DefaultProduceTopic).(string)
	return topic
}

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

// A topic that is deleted and made again is read on in silence once it is longer than the position.
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
				if got, err := readTo(t, r, 101); !errors.Is(err, cluster.ErrRecreated) || len(got) > 0 {
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

// An unclean election takes away what was read; once the log has grown again, the library reads on behind it.
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
				if _, ok := errors.AsType[*cluster.PermissionError](err); !ok {
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
		if _, err := readTo(t, r, 11); !errors.Is(err, cluster.ErrTopicGone) {
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
				var denied *cluster.PermissionError
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
		if n := told.count("the partition stands below its end"); n != 1 {
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
