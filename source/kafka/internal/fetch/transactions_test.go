package fetch

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

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
