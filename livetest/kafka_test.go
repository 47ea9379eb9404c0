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

	"github.com/keystrand/keystrand/commit"
)

// kafkaCluster is Apache Kafka as tools/services runs it.
type kafkaCluster struct {
	t *testing.T
	service
	opts   []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
	open   []*kgo.Client // two transactional producers; empty: none
}

// newKafka connects to Kafka. Flavour: transactions, or none.
func newKafka(t *testing.T, name, flavour string) *kafkaCluster {
	t.Helper()
	k := &kafkaCluster{t: t, service: service{name: name, messages: 100_000, keys: 5_000}}
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
		_, err := k.admin.CreateTopic(ctx, int32(partitions), -1, nil, stream)
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

func TestLiveKafka(t *testing.T)        { gate(t, "kafka", "kafka+transactions") }
func TestLiveKafkaSecured(t *testing.T) { gate(t, "kafka-sasl") }

// Soak: the broker is stopped and killed.
func TestSoakKafka(t *testing.T) { gate(t, "kafka") }

// Soak: brokers are stopped and killed, leaders move between them, the topic is deleted under its owners.
func TestSoakKafkaThreeNodes(t *testing.T) { gate(t, "kafka3") }
