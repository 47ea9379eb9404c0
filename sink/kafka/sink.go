package kafka

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/keystrand/keystrand/sink"
)

// Sink writes to the topics of one Kafka cluster. It is safe for concurrent use; its writers are not.
//
// It owns the connections: one for each writer and broker while they write. They are shared by nobody else.
type Sink struct {
	topic   string
	cfg     Config
	cluster *cluster
	open    atomic.Int32 // writers
	closed  atomic.Bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink for a topic of the cluster with these brokers (host:port each; one that is up is enough). The topic is
// empty with Config.ByStream alone. It connects when the first message is written.
func New(brokers []string, topic string, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(brokers, topic); err != nil {
		return nil, fmt.Errorf("kafka: sink for topic %q: %w", topic, err)
	}
	return &Sink{topic: topic, cfg: cfg, cluster: newCluster(brokers, cfg)}, nil
}

// Open returns a writer. It does not connect.
func (s *Sink) Open() (sink.Writer, error) {
	if s.closed.Load() {
		return nil, errors.New("kafka: Open on a closed sink")
	}
	s.open.Add(1)
	return &writer{sink: s, turn: rand.IntN(1 << 16), shards: make(map[shardID]*shard)}, nil
}

// Close ends all connections and goroutines of the sink. It fails while a writer is open.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("kafka: sink closed before its writers: %d are open", n)
	}
	if s.closed.Swap(true) {
		return errors.New("kafka: sink closed twice")
	}
	s.cluster.close()
	return nil
}
