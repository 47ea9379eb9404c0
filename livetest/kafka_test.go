//go:build unix

package livetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/sink"
	sinkkafka "github.com/keystrand/keystrand/sink/kafka"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// kafkaArgs are those of source/kafka in a member.
type kafkaArgs struct {
	Brokers      []string
	Topic, Group string
	Session      time.Duration
	User, CA     string // of SCRAM-SHA-512 over TLS; empty: neither
	Password     string
}

func init() {
	sources["kafka"] = func(raw json.RawMessage, log *slog.Logger) (source.Source, error) {
		var a kafkaArgs
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		cfg := kafka.Config{SessionTimeout: a.Session, HeartbeatInterval: a.Session / 10, RebalanceTimeout: 20 * time.Second, Logger: log}
		if a.User != "" {
			var err error
			if cfg.TLS, err = trusting(a.CA); err != nil {
				return nil, err
			}
			cfg.SASL = kafka.SCRAMSHA512(a.User, a.Password)
		}
		return kafka.New(a.Brokers, a.Group, []string{a.Topic}, cfg)
	}
	sinks["kafka"] = func(raw json.RawMessage) (sink.Sink, error) {
		var a kafkaArgs
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		return sinkkafka.New(a.Brokers, a.Topic, sinkkafka.Config{})
	}
}

// kafkaCluster is Apache Kafka as tools/services runs it.
type kafkaCluster struct {
	t       *testing.T
	service string // its name there
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	config  map[string]*string // of topics
	secure  func(*kafkaArgs)   // nil: neither TLS nor SASL
}

var _ Cluster = (*kafkaCluster)(nil)

func newKafka(t *testing.T, variable, service string, opts ...kgo.Opt) *kafkaCluster {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Skipf("%s is not set: tools/services/services up %s; eval \"$(tools/services/services env)\"; go test -race -run '^TestLive' ./livetest", variable, service)
	}
	k := &kafkaCluster{t: t, service: service, brokers: strings.Split(v, ",")}
	k.client = k.newClient(opts...)
	k.admin = kadm.NewClient(k.client)
	return k
}

func (k *kafkaCluster) newClient(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(200 * time.Millisecond), kgo.ProducerLinger(2 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(c.Close)
	return c
}

// Promises changes nothing: what is committed is told to the next owner.
func (k *kafkaCluster) Promises(*History) {}

// Nodes returns how many brokers there are.
func (k *kafkaCluster) Nodes() int { return len(k.brokers) }

// NewStream makes a topic.
func (k *kafkaCluster) NewStream(ctx context.Context, partitions int) (string, error) {
	topic := fmt.Sprintf("live-%d", time.Now().UnixNano())
	if _, err := k.admin.CreateTopic(ctx, int32(partitions), -1, k.config, topic); err != nil {
		return "", fmt.Errorf("create topic %s: %w", topic, err)
	}
	k.t.Cleanup(func() { _, _ = k.admin.DeleteTopic(context.WithoutCancel(ctx), topic) })
	return topic, nil
}

// Produce writes messages and fills in their offsets.
func (k *kafkaCluster) Produce(ctx context.Context, ms []Message) error {
	return produce(ctx, k.client, ms)
}

func produce(ctx context.Context, c *kgo.Client, ms []Message) error {
	failed := make(chan error, len(ms))
	for i := range ms {
		m := &ms[i]
		c.Produce(ctx, recordOf(m), func(got *kgo.Record, err error) {
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

// recordOf makes a message of about 100 bytes.
func recordOf(m *Message) *kgo.Record {
	return &kgo.Record{Topic: m.Stream, Partition: m.Partition, Key: []byte(m.Key), Value: fmt.Appendf(nil, "%-90d", m.Number)}
}

// Source returns how a member reads the topic.
func (k *kafkaCluster) Source(stream, group string) (string, any) {
	a := kafkaArgs{Brokers: k.brokers, Topic: stream, Group: group, Session: 5 * time.Second}
	if k.secure != nil {
		k.secure(&a)
	}
	return "kafka", a
}

// Progress reads and decodes what is committed.
func (k *kafkaCluster) Progress(ctx context.Context, stream, group string) (map[int32]*commit.Progress, error) {
	offsets, err := k.admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	all := map[int32]*commit.Progress{}
	for n, o := range offsets[stream] {
		if o.Err != nil {
			return nil, fmt.Errorf("%s/%d: %w", stream, n, o.Err)
		}
		p, err := commit.Decode(o.Metadata)
		if err != nil {
			return nil, fmt.Errorf("%s/%d at %d: metadata %q: %w", stream, n, o.At, o.Metadata, err)
		}
		if p.Frontier != o.At {
			return nil, fmt.Errorf("%s/%d: offset %d is committed with metadata about %d", stream, n, o.At, p.Frontier)
		}
		all[n] = p
	}
	return all, nil
}

// Restart ends a node and starts it again.
func (k *kafkaCluster) Restart(ctx context.Context, node int, kill bool, note func(Kind)) error {
	return restarts(ctx, k.control, k.service, node, kill, note)
}

func (k *kafkaCluster) control(ctx context.Context, args ...string) error {
	program := os.Getenv("KEYSTRAND_KAFKA_CTL")
	if program == "" {
		k.t.Skip("KEYSTRAND_KAFKA_CTL is not set: eval \"$(tools/services/services env)\"")
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// inSync waits until every replica of a stream has all of its log.
func (k *kafkaCluster) inSync(ctx context.Context, stream string) (kadm.TopicDetails, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // real time: hang guard
	defer cancel()
	for {
		topics, err := k.admin.ListTopics(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("replicas of %s are not in sync: %w", stream, err)
		}
		behind := false
		for _, p := range topics[stream].Partitions {
			behind = behind || len(p.ISR) < len(p.Replicas)
		}
		if !behind {
			return topics, nil
		}
		time.Sleep(100 * time.Millisecond) // real time: a node catches up
	}
}

// MoveLeaders makes another replica the preferred leader of each partition and elects it, once all are in sync: a node that
// is back from a restart is not at first, and cannot be elected.
func (k *kafkaCluster) MoveLeaders(ctx context.Context, stream string, _ func(Kind)) error {
	topics, err := k.inSync(ctx, stream)
	if err != nil {
		return err
	}
	var req kadm.AlterPartitionAssignmentsReq
	for _, p := range topics[stream].Partitions {
		req.Assign(stream, p.Partition, append(p.Replicas[1:len(p.Replicas):len(p.Replicas)], p.Replicas[0]))
	}
	moved, err := k.admin.AlterPartitionAssignments(ctx, req)
	if err == nil {
		err = moved.Error()
	}
	if err != nil {
		return fmt.Errorf("order of replicas: %w", err)
	}
	if _, err := k.inSync(ctx, stream); err != nil {
		return err
	}
	elected, err := k.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, topics.TopicsSet())
	if err != nil {
		return fmt.Errorf("elect leaders: %w", err)
	}
	for _, ps := range elected {
		for _, p := range ps {
			if p.Err != nil && !errors.Is(p.Err, kerr.ElectionNotNeeded) { // it is there already
				return fmt.Errorf("elect leader of %s/%d: %w", p.Topic, p.Partition, p.Err)
			}
		}
	}
	return nil
}

func TestLiveKafka(t *testing.T) {
	runScenarios(t, newKafka(t, "KEYSTRAND_KAFKA", "kafka"), steady)
}

// Soak: the broker is stopped and killed.
func TestSoakKafka(t *testing.T) {
	runScenarios(t, newKafka(t, "KEYSTRAND_KAFKA", "kafka"), restless)
}

// Soak: brokers are stopped and killed, and leaders move between them.
func TestSoakKafkaThreeNodes(t *testing.T) {
	runScenarios(t, newKafka(t, "KEYSTRAND_KAFKA3", "kafka3"), restless)
}
