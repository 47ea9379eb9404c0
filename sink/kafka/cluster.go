package kafka

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/keystrand/keystrand/internal/kafkanet"
)

// cluster caches the topics and their leaders. The writers of a sink share it. It is safe for concurrent use.
type cluster struct {
	addr      net.Addr
	net       *kafkanet.Dialer
	transport *kafka.Transport
	timeout   time.Duration
	brokers   int // in the configuration

	mu     sync.Mutex
	topics map[string]*topic // latest metadata of each topic; guarded by mu
}

// topic is the metadata of a topic at one moment. It is immutable.
type topic struct {
	name      string
	leaders   []int32   // leader of each partition, -1 for none
	available []int32   // partitions that have a leader
	heard     time.Time // when it was requested
}

func newCluster(brokers []string, cfg Config) *cluster {
	connections := kafkanet.New(kafkanet.Config{Brokers: brokers, TLS: cfg.TLS, Dial: cfg.Dial, Log: cfg.Logger})
	return &cluster{
		addr:    connections.Bootstrap(),
		net:     connections,
		timeout: cfg.RequestTimeout,
		brokers: len(brokers),
		topics:  make(map[string]*topic),
		transport: &kafka.Transport{
			Dial:           connections.DialContext,
			ClientID:       cfg.ClientID,
			SASL:           connections.SASL(cfg.SASL),
			MetadataTTL:    time.Second, // for the addresses of the brokers
			MetadataTopics: []string{},  // none; nil would request all topics of the cluster every second
		},
	}
}

func (c *cluster) close() {
	c.transport.CloseIdleConnections()
	c.net.Close()
}

// known returns the metadata of a topic if it is not older than since, else nil.
func (c *cluster) known(name string, since time.Time) *topic {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.topics[name]; t != nil && !t.heard.Before(since) {
		return t
	}
	return nil
}

// doubt removes the metadata of a topic, so that it is requested again.
func (c *cluster) doubt(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
}

// ask requests the metadata of the topics. bad has an error for each topic without metadata. err means that no broker
// answered.
func (c *cluster) ask(ctx context.Context, names []string) (good map[string]*topic, bad map[string]error, err error) {
	now := time.Now()
	md, err := c.metadata(ctx, &metadata.Request{TopicNames: names})
	if err != nil {
		return nil, nil, err
	}
	good, bad = make(map[string]*topic), make(map[string]error)
	for i := range md.Topics {
		rt := &md.Topics[i]
		if rt.ErrorCode != 0 {
			bad[rt.Name] = kafka.Error(rt.ErrorCode)
			continue
		}
		t, err := topicOf(rt, now)
		if err != nil {
			bad[rt.Name] = err
			continue
		}
		good[rt.Name] = t
	}
	for _, name := range names {
		if good[name] == nil && bad[name] == nil {
			bad[name] = kafka.UnknownTopicOrPartition
		}
	}
	c.learn(good)
	return good, bad, nil
}

func (c *cluster) metadata(ctx context.Context, req *metadata.Request) (*metadata.Response, error) {
	res, err := c.roundTrip(ctx, anyBroker, req)
	if err != nil {
		return nil, fmt.Errorf("request metadata from %s: %w", c.addr, err)
	}
	md, ok := res.(*metadata.Response)
	if !ok {
		return nil, fmt.Errorf("unexpected response %T", res)
	}
	return md, nil
}

func (c *cluster) roundTrip(ctx context.Context, broker int32, req protocol.Message) (protocol.Message, error) {
	return roundTrip(ctx, c.transport, c.addr, c.timeout, broker, req)
}

func (c *cluster) learn(topics map[string]*topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, t := range topics {
		if old := c.topics[name]; old == nil || old.heard.Before(t.heard) {
			c.topics[name] = t
		}
	}
}

func topicOf(rt *metadata.ResponseTopic, heard time.Time) (*topic, error) {
	if len(rt.Partitions) == 0 {
		return nil, kafka.LeaderNotAvailable // the topic is being created
	}
	t := &topic{name: rt.Name, leaders: make([]int32, len(rt.Partitions)), heard: heard}
	for _, p := range rt.Partitions {
		if p.PartitionIndex < 0 || int(p.PartitionIndex) >= len(t.leaders) {
			return nil, fmt.Errorf("invalid metadata: %d partitions, but one has the number %d", len(t.leaders), p.PartitionIndex)
		}
		t.leaders[p.PartitionIndex] = p.LeaderID
		if p.LeaderID >= 0 {
			t.available = append(t.available, p.PartitionIndex)
		} else {
			t.leaders[p.PartitionIndex] = -1
		}
	}
	return t, nil
}
