//go:build unix

package livetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLiveKafkaCompactedTopic: a log that the broker's cleaner has gone through has holes, batches without a last record
// and batches without any, which are kept for their producers' sake.
func TestLiveKafkaCompactedTopic(t *testing.T) {
	k := newKafka(t, "KEYSTRAND_KAFKA", "kafka")
	k.config = map[string]*string{}
	for name, value := range map[string]string{
		"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0",
		"max.compaction.lag.ms": "500", "delete.retention.ms": "100",
	} {
		k.config[name] = &value
	}
	play(t, k, scenario{
		messages: 50_000, keys: 2_000,
		orderly: true,
		fill:    k.fillCompacted,
		steps:   []step{{0, join("a", "b")}, {0.5, leave("a")}},
		before:  k.reachEnd,
	})
}

// fillCompacted writes with many producers that end at once, waits for the cleaner, sends it away, and returns what it
// has left.
func (k *kafkaCluster) fillCompacted(r *run) ([]Message, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: the cleaner comes once in half a second
	defer cancel()
	keys := newKeys(r.seed, r.setup)
	const producers = 20
	for range producers {
		ms := make([]Message, r.setup.messages/producers)
		for i := range ms {
			ms[i] = keys.next(r.stream)
		}
		c := k.newClient()
		if err := produce(ctx, c, ms); err != nil {
			return nil, err
		}
		c.Close()
		time.Sleep(120 * time.Millisecond) // real time: the broker begins a new segment after 100 ms
	}
	empty := 0
	var left []Message
	for len(left) == 0 || len(left) > r.setup.messages/4 || empty < 3 {
		time.Sleep(500 * time.Millisecond) // real time: see above
		var err error
		if left, err = k.readAll(ctx, r.stream); err != nil {
			return nil, err
		}
		if empty, err = k.emptyBatches(ctx, r.stream, r.setup.partitions); err != nil {
			return nil, fmt.Errorf("%w (%d of %d messages left, %d empty batches)", err, len(left), r.setup.messages, empty)
		}
	}
	keep, forever := "delete", "-1"
	changed, err := k.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &keep}, {Op: kadm.SetConfig, Name: "retention.ms", Value: &forever},
	}, r.stream)
	if err == nil {
		err = errors.Join(changed[0].Err)
	}
	for before := -1; err == nil && before != len(left); {
		before = len(left)
		time.Sleep(1500 * time.Millisecond) // real time: a round of the cleaner under way comes to its end
		left, err = k.readAll(ctx, r.stream)
	}
	r.t.Logf("the cleaner left %d of %d messages, and %d empty batches", len(left), r.setup.messages, empty)
	return left, err
}

// readAll reads a topic with another client.
func (k *kafkaCluster) readAll(ctx context.Context, topic string) ([]Message, error) {
	ends, err := k.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	c := k.newClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer c.Close()
	open := map[int32]int64{}
	for _, o := range ends[topic] {
		if o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	}
	var ms []Message
	for len(open) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if rec.Offset+1 >= open[rec.Partition] {
				delete(open, rec.Partition)
			}
			if rec.Attrs.IsControl() {
				return
			}
			n, _ := strconv.ParseInt(strings.TrimRight(string(rec.Value), " "), 10, 64)
			ms = append(ms, Message{Place: Place{topic, rec.Partition}, Offset: rec.Offset, Key: string(rec.Key), Number: n})
		})
	}
	return ms, nil
}

// emptyBatches counts the batches that have lost all records.
func (k *kafkaCluster) emptyBatches(ctx context.Context, topic string, partitions int) (int, error) {
	topics, err := k.admin.ListTopics(ctx, topic)
	if err != nil {
		return 0, err
	}
	empty := 0
	for n := range int32(partitions) {
		const most = 64 << 20
		req := kmsg.NewPtrFetchRequest()
		req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, most, 100
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = topic, topics[topic].ID
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = n, most
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := k.client.Broker(int(topics[topic].Partitions[n].Leader)).Request(ctx, req)
		if err != nil {
			return 0, err
		}
		got, ok := resp.(*kmsg.FetchResponse)
		if !ok || len(got.Topics) == 0 || len(got.Topics[0].Partitions) == 0 {
			continue
		}
		// A batch is its offset (8 bytes), its length (4), and so on to the count of records (4), the last before them.
		const head, count = 12, 57
		for b := got.Topics[0].Partitions[0].RecordBatches; len(b) >= count+4; {
			if binary.BigEndian.Uint32(b[count:]) == 0 {
				empty++
			}
			b = b[min(len(b), head+int(binary.BigEndian.Uint32(b[8:]))):]
		}
	}
	return empty, nil
}

// TestLiveKafkaTransactionalTopic: records of aborted transactions are not for readers, markers are no records, and the
// position passes both, also where nothing follows them.
func TestLiveKafkaTransactionalTopic(t *testing.T) {
	k := newKafka(t, "KEYSTRAND_KAFKA", "kafka")
	play(t, k, scenario{
		messages: 40_000,
		orderly:  true,
		fill:     k.fillTransactions,
		steps:    []step{{0, join("a", "b")}, {0.3, leave("a")}, {0.6, join("c")}},
		before:   k.reachEnd,
	})
}

// fillTransactions writes with two transactional producers and one without transactions, side by side. The last
// transaction of each is aborted.
func (k *kafkaCluster) fillTransactions(r *run) ([]Message, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: hang guard
	defer cancel()
	keys := newKeys(r.seed, r.setup)
	dice := rand.New(rand.NewPCG(r.seed, 2))
	const rounds = 20
	producers := [...]*kgo.Client{
		k.newClient(kgo.TransactionalID(r.stream + "-1")), k.newClient(kgo.TransactionalID(r.stream + "-2")), k.client,
	}
	var kept []Message
	aborted := 0
	for round := range rounds {
		var parts [len(producers)][]Message
		for i := range parts {
			for range r.setup.messages / rounds / len(producers) {
				parts[i] = append(parts[i], keys.next(r.stream))
			}
			if producers[i] != k.client {
				if err := producers[i].BeginTransaction(); err != nil {
					return nil, err
				}
			}
		}
		if round == rounds-1 { // nothing but aborted records at the end
			parts[2] = nil
		}
		for half := range 2 { // the transactions of both producers are open at the same time
			for i, c := range producers {
				n := len(parts[i]) / 2
				if err := produce(ctx, c, parts[i][half*n:][:n]); err != nil {
					return nil, err
				}
				parts[i] = parts[i][:2*n]
			}
		}
		for i, c := range producers {
			if c == k.client {
				kept = append(kept, parts[i]...)
				continue
			}
			end := kgo.TryCommit
			if dice.IntN(3) == 0 || round == rounds-1 {
				end = kgo.TryAbort
				aborted += len(parts[i])
			} else {
				kept = append(kept, parts[i]...)
			}
			if err := c.EndTransaction(ctx, end); err != nil {
				return nil, err
			}
		}
	}
	r.t.Logf("%d messages in committed transactions or none, %d in aborted ones", len(kept), aborted)
	return kept, nil
}

// reachEnd waits until progress to the very end of the log is committed, whatever stands there.
func (k *kafkaCluster) reachEnd(r *run) {
	r.t.Helper()
	ends, err := k.admin.ListEndOffsets(r.t.Context(), r.stream)
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("what is committed has come to the end of the log", func() bool {
		time.Sleep(50 * time.Millisecond) // real time: members commit now and then
		progress, err := k.Progress(r.t.Context(), r.stream, r.group)
		if err != nil {
			r.t.Fatal(err)
		}
		for n, end := range ends[r.stream] {
			if p := progress[n]; end.Offset > 0 && (p == nil || p.Frontier < end.Offset) {
				return false
			}
		}
		return true
	})
}

// TestSoakKafkaTopicDeletedAndMadeAgain: the new log begins at its first message, although it is soon longer than the
// position in the old one.
//
// Soak: the topic is deleted under its owners.
func TestSoakKafkaTopicDeletedAndMadeAgain(t *testing.T) {
	k := newKafka(t, "KEYSTRAND_KAFKA3", "kafka3") // where nobody but the test makes topics
	r := newRun(t, k, scenario{messages: 4_000, partitions: 4})
	stop := r.begin()
	r.join("a")
	r.join("b")
	r.progress(1)
	r.until("who produces has all answers", r.loaded.Load)
	stop()
	k.reachEnd(r)

	if _, err := k.admin.DeleteTopic(t.Context(), r.stream); err != nil {
		t.Fatal(err)
	}
	r.read()
	old := len(r.events)
	for {
		_, err := k.admin.CreateTopic(t.Context(), int32(r.setup.partitions), -1, nil, r.stream)
		if err == nil {
			break
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // real time: the broker is still deleting
	}
	r.setup.messages, r.produced, r.count = 12_000, nil, 0
	clear(r.settled)
	r.settledNow.Store(0)
	r.loaded.Store(false)
	again := k.newClient() // that knows nothing of the old topic
	keys := newKeys(r.seed+1, r.setup)
	ms := make([]Message, r.setup.messages)
	for i := range ms {
		ms[i] = keys.next(r.stream)
	}
	if err := produce(t.Context(), again, ms); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.produced = ms
	r.mu.Unlock()
	r.loaded.Store(true)
	r.until("the new log is settled", func() bool { return r.count >= len(ms) })
	r.leave("a", "b")
	r.read()

	// The history of the new log is that of the owners who came after the old one.
	accepted := map[ownerID]bool{}
	var events []Event
	for _, e := range r.events[old:] {
		if e.Kind == Accepted {
			accepted[idOf(&e)] = true
		}
		if e.Stream == "" || accepted[idOf(&e)] {
			events = append(events, e)
		}
	}
	r.events = events
	r.check("")
}
