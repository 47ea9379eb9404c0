//go:build unix

package livetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
)

// kafkaCluster is Apache Kafka as tools/services runs it.
type kafkaCluster struct {
	t *testing.T
	service
	opts   []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
	config map[string]*string // of topics
	open   []*kgo.Client      // two transactional producers; empty: none
}

// newKafka connects to Kafka. Flavour: compact, transactions, or none.
func newKafka(t *testing.T, name, flavour string) *kafkaCluster {
	t.Helper()
	k := &kafkaCluster{t: t, service: service{name: name, messages: 100_000, keys: 5_000}}
	if flavour == "compact" {
		k.config = compacted
	}
	variable := "KEYSTRAND_" + strings.ToUpper(name)
	if name == "kafka-sasl" {
		variable = "KEYSTRAND_KAFKA_SASL_TLS"
		k.way = access{CA: env(t, "KEYSTRAND_KAFKA_CA", name), User: "bob", Secret: "bob-secret"}
		login := scram.Auth{User: k.way.User, Pass: k.way.Secret}
		k.opts = []kgo.Opt{kgo.DialTLSConfig(trusting(k.way.CA)), kgo.SASL(login.AsSha512Mechanism())}
	}
	k.way.Service, k.way.Address = "kafka", env(t, variable, k.name)
	k.client = k.newClient()
	k.admin = kadm.NewClient(k.client)
	for i := 0; flavour == "transactions" && i < 2; i++ {
		k.open = append(k.open, k.newClient(kgo.TransactionalID(fmt.Sprintf("live-%d-%d", i, time.Now().UnixNano()))))
	}
	return k
}

func (k *kafkaCluster) newClient(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	c, err := kgo.NewClient(append(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(k.way.Address, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(200 * time.Millisecond), kgo.ProducerLinger(2 * time.Millisecond),
	}, k.opts...), opts...)...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(c.Close)
	return c
}

func (k *kafkaCluster) create(ctx context.Context, stream string, partitions int) error {
	for {
		_, err := k.admin.CreateTopic(ctx, int32(partitions), -1, k.config, stream)
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // real time: the broker is still deleting
	}
}

func (k *kafkaCluster) remove(ctx context.Context, stream string, _ int) error {
	_, err := k.admin.DeleteTopic(ctx, stream)
	k.client.PurgeTopicsFromClient(stream)
	return err
}

// produce writes with one of two producers whose transactions are open at the same time, if there are any. That of the other one,
// with the same messages, is aborted.
func (k *kafkaCluster) produce(ctx context.Context, ms []Message) (err error) {
	if k.open == nil {
		return produceWith(ctx, k.client, ms)
	}
	kept, aborted := k.open[0], k.open[1]
	for _, c := range k.open {
		err = errors.Join(err, c.BeginTransaction())
	}
	for part := range slices.Chunk(ms, len(ms)/3+1) {
		err = errors.Join(err, produceWith(ctx, aborted, slices.Clone(part)), produceWith(ctx, kept, part))
	}
	return errors.Join(err, kept.EndTransaction(ctx, kgo.TryCommit), aborted.EndTransaction(ctx, kgo.TryAbort))
}

func produceWith(ctx context.Context, c *kgo.Client, ms []Message) error {
	failed := make(chan error, len(ms))
	for i := range ms {
		m := &ms[i]
		r := &kgo.Record{Topic: m.Stream, Partition: m.Partition, Key: []byte(m.Key), Value: valueOf(m)}
		c.Produce(ctx, r, func(got *kgo.Record, err error) {
			m.Offset = got.Offset
			if err != nil {
				failed <- err
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	close(failed)
	return <-failed
}

func (k *kafkaCluster) progress(ctx context.Context, stream, group string) (map[Place]commit.Progress, error) {
	offsets, err := k.admin.FetchOffsets(ctx, group)
	all := map[Place]commit.Progress{}
	for n, o := range offsets[stream] {
		p, err := commit.Decode(o.Metadata)
		if err == nil && p.Frontier != o.At {
			err = errors.New("it is about another offset")
		}
		if err = errors.Join(o.Err, err); err != nil {
			return nil, fmt.Errorf("%s/%d at %d: metadata %q: %w", stream, n, o.At, o.Metadata, err)
		}
		all[Place{stream, n}] = *p
	}
	return all, err
}

// move elects the preferred leader of each partition, which is another one than the current leader when its node has restarted.
func (k *kafkaCluster) move(ctx context.Context, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // real time: hang guard
	defer cancel()
	for {
		topics, err := k.admin.ListTopics(ctx, stream)
		if err != nil {
			return err
		}
		elected, err := k.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, topics.TopicsSet())
		for _, p := range elected[stream] {
			if !errors.Is(p.Err, kerr.ElectionNotNeeded) { // it leads already
				err = errors.Join(err, p.Err)
			}
		}
		if !errors.Is(err, kerr.PreferredLeaderNotAvailable) {
			return err
		}
		time.Sleep(100 * time.Millisecond) // real time: a node that has restarted catches up
	}
}

func TestLiveKafka(t *testing.T)        { gate(t, "kafka", "kafka+compact", "kafka+transactions") }
func TestLiveKafkaSecured(t *testing.T) { gate(t, "kafka-sasl") }

// Soak: the broker is stopped and killed.
func TestSoakKafka(t *testing.T) { gate(t, "kafka") }

// Soak: brokers are stopped and killed, leaders move between them, the topic is deleted under its owners.
func TestSoakKafkaThreeNodes(t *testing.T) { gate(t, "kafka3") }

// compacted has the settings of a topic that the cleaner visits at once.
var compacted = map[string]*string{
	"cleanup.policy": new("compact"), "segment.ms": new("100"), "delete.retention.ms": new("100"),
	"min.cleanable.dirty.ratio": new("0.01"),
	"min.compaction.lag.ms":     new("0"), "max.compaction.lag.ms": new("500"),
}

// kafkaOf returns the Kafka of a scenario that is played there alone.
func kafkaOf(r *run) *kafkaCluster { return r.cluster.(*kafkaCluster) } //nolint:errcheck,forcetypeassert // see there

// fillCompacted writes with many producers that end at once, since the broker keeps the last batch of each even if it is
// empty. It waits for the cleaner and returns the messages that are left. Later rounds remove nothing more.
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
	for before := -1; before != len(left) || len(left) > r.messages/4 || empty < 3; {
		before = len(left)
		time.Sleep(2 * time.Second) // real time: the cleaner ends its rounds, of which the last one changes nothing
		left, empty = k.readAll(ctx, r)
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
