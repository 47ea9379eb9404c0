//go:build unix

package livetest

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
)

// compacted has the settings of a topic that the cleaner visits at once.
var compacted = map[string]*string{
	"cleanup.policy": new("compact"), "segment.ms": new("100"), "delete.retention.ms": new("100"),
	"min.cleanable.dirty.ratio": new("0.01"),
	"min.compaction.lag.ms":     new("0"), "max.compaction.lag.ms": new("500"),
}

// kafkaOf returns the Kafka of a scenario that is played there alone.
func kafkaOf(r *run) *kafkaCluster { return r.cluster.(*kafkaCluster) } //nolint:errcheck,forcetypeassert // see there

// fillCompacted writes with many producers that end at once, since the broker keeps the last batch of each even if it is
// empty. It waits for the cleaner, sends it away, and returns the messages that are left.
func fillCompacted(r *run) []Message {
	k := kafkaOf(r)
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: the cleaner comes once in half a second
	defer cancel()
	keys := newKeys(r, r.seed)
	for range 20 {
		c := k.newClient()
		r.must(produceWith(ctx, c, keys.next(r.messages/20)))
		c.Close()
		time.Sleep(120 * time.Millisecond) // real time: the broker begins a new segment after 100 ms
	}
	left, empty := []Message{}, 0
	for len(left) == 0 || len(left) > r.messages/4 || empty < 3 {
		time.Sleep(500 * time.Millisecond) // real time: see above
		left, empty = k.readAll(ctx, r)
	}
	_, err := k.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "cleanup.policy", Value: new("delete")},
		{Op: kadm.SetConfig, Name: "retention.ms", Value: new("-1")},
	}, r.stream)
	r.must(err)
	for before := -1; before != len(left); {
		before = len(left)
		time.Sleep(1500 * time.Millisecond) // real time: the cleaner ends its round
		left, _ = k.readAll(ctx, r)
	}
	return left
}

// emptyBatches counts the batches that have lost all records.
type emptyBatches int

func (n *emptyBatches) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.NumRecords == 0 {
		*n++
	}
}

// readAll reads a topic with another client. The cleaner leaves the last record of a partition.
func (k *kafkaCluster) readAll(ctx context.Context, r *run) (ms []Message, empty int) {
	r.t.Helper()
	var batches emptyBatches
	c := k.newClient(kgo.ConsumeTopics(r.stream), kgo.WithHooks(&batches))
	defer c.Close()
	offsets, err := k.admin.ListEndOffsets(ctx, r.stream)
	r.must(errors.Join(err, offsets.Error()))
	toRead := 0
	offsets.Each(func(o kadm.ListedOffset) { toRead += int(min(o.Offset, 1)) })
	for toRead > 0 {
		fetches := c.PollFetches(ctx)
		r.must(fetches.Err())
		fetches.EachRecord(func(rec *kgo.Record) {
			number := numberOf(&keystrand.Message{Value: rec.Value})
			ms = append(ms, Message{Place{r.stream, rec.Partition}, rec.Offset, string(rec.Key), number})
			if end, _ := offsets.Lookup(r.stream, rec.Partition); rec.Offset == end.Offset-1 {
				toRead--
			}
		})
	}
	c.Close() // batches is its own until then
	return ms, int(batches)
}
