//go:build unix

package livetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
)

// compacted has the settings of a topic that the cleaner visits at once.
func compacted() map[string]*string {
	config := map[string]*string{}
	for name, value := range map[string]string{
		"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0",
		"max.compaction.lag.ms": "500", "delete.retention.ms": "100",
	} {
		config[name] = &value
	}
	return config
}

// kafkaOf returns the Kafka of a scenario that is played there alone.
func kafkaOf(r *run) *kafkaCluster { return r.cluster.(*kafkaCluster) } //nolint:errcheck,forcetypeassert // see there

// fillCompacted writes with many producers that end at once, since the broker keeps the last batch of each even if it is
// empty. It waits for the cleaner, sends it away, and returns the messages that are left.
func fillCompacted(r *run) ([]Message, error) {
	k := kafkaOf(r)
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: the cleaner comes once in half a second
	defer cancel()
	keys := newKeys(r, r.seed)
	for range 20 {
		c := k.newClient()
		if err := produceWith(ctx, c, keys.next(r.messages/20)); err != nil {
			return nil, err
		}
		c.Close()
		time.Sleep(120 * time.Millisecond) // real time: the broker begins a new segment after 100 ms
	}
	var left []Message
	for empty := 0; len(left) == 0 || len(left) > r.messages/4 || empty < 3; {
		time.Sleep(500 * time.Millisecond) // real time: see above
		var err error
		if left, empty, err = k.readAll(ctx, r.stream); err != nil {
			return nil, fmt.Errorf("%d of %d messages and %d empty batches left: %w", len(left), r.messages, empty, err)
		}
	}
	keep, forever := "delete", "-1"
	_, err := k.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &keep}, {Op: kadm.SetConfig, Name: "retention.ms", Value: &forever},
	}, r.stream)
	for before := -1; err == nil && before != len(left); {
		before = len(left)
		time.Sleep(1500 * time.Millisecond) // real time: the cleaner ends its round
		left, _, err = k.readAll(ctx, r.stream)
	}
	return left, err
}

// readAll reads a topic with another client. empty counts the batches that have lost all records.
func (k *kafkaCluster) readAll(ctx context.Context, topic string) (ms []Message, empty int, err error) {
	topics, err := k.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, 0, err
	}
	for n, p := range topics[topic].Partitions {
		for at, end := int64(0), int64(1); at < end; {
			req := kmsg.NewPtrFetchRequest()
			rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = n, at, 64<<20
			rt.Topic, rt.TopicID, rt.Partitions = topic, topics[topic].ID, append(rt.Partitions, rp)
			req.MinBytes, req.MaxBytes, req.MaxWaitMillis, req.Topics = 1, 64<<20, 100, append(req.Topics, rt)
			resp, err := req.RequestWith(ctx, k.client.Broker(int(p.Leader)))
			if err != nil {
				return nil, 0, err
			}
			for _, topicResp := range resp.Topics { // none: another fetch
				for _, rp := range topicResp.Partitions {
					opts := kgo.ProcessFetchPartitionOpts{Topic: topic, Offset: at}
					got, next := kgo.ProcessFetchPartition(opts, &rp, kgo.DefaultDecompressor(), func(b kgo.FetchBatchMetrics) {
						if b.NumRecords == 0 {
							empty++
						}
					})
					if got.Err != nil {
						return nil, 0, got.Err
					}
					at, end = next, got.HighWatermark
					for _, rec := range got.Records {
						number := numberOf(&keystrand.Message{Value: rec.Value})
						ms = append(ms, Message{Place: Place{topic, n}, Offset: rec.Offset, Key: string(rec.Key), Number: number})
					}
				}
			}
		}
	}
	return ms, empty, nil
}

// fillTransactions writes with two transactional producers and a plain one, side by side. It returns the messages that
// count. The last transaction of each producer is aborted.
func fillTransactions(r *run) ([]Message, error) {
	k := kafkaOf(r)
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: hang guard
	defer cancel()
	keys := newKeys(r, r.seed)
	dice := rand.New(rand.NewPCG(r.seed, 2))
	const rounds = 20
	var kept []Message
	producers := []*kgo.Client{
		k.newClient(kgo.TransactionalID(r.stream + "-1")), k.newClient(kgo.TransactionalID(r.stream + "-2")), k.client,
	}
	for round := range rounds {
		parts := make([][]Message, len(producers))
		for i, c := range producers {
			last := round == rounds-1
			if c != k.client {
				if err := c.BeginTransaction(); err != nil {
					return nil, err
				}
			} else if last {
				continue
			}
			parts[i] = keys.next(r.messages / rounds / len(producers) / 2 * 2)
		}
		for half := range 2 { // the transactions of both producers are open at the same time
			for i, c := range producers {
				n := len(parts[i]) / 2
				if err := produceWith(ctx, c, parts[i][half*n:][:n]); err != nil {
					return nil, err
				}
			}
		}
		for i, c := range producers {
			aborts := c != k.client && (dice.IntN(3) == 0 || round == rounds-1)
			if !aborts {
				kept = append(kept, parts[i]...)
			}
			if c != k.client {
				if err := c.EndTransaction(ctx, kgo.TransactionEndTry(!aborts)); err != nil {
					return nil, err
				}
			}
		}
	}
	return kept, nil
}

// reachEnd waits until progress to the very end of the log is committed, whatever is there.
func reachEnd(r *run) {
	r.t.Helper()
	offsets, err := kafkaOf(r).admin.ListEndOffsets(r.t.Context(), r.stream)
	r.must(err)
	ends := map[int32]int64{}
	for n, end := range offsets[r.stream] {
		if end.Offset > 0 {
			ends[n] = end.Offset
		}
	}
	r.committed(ends)
}
