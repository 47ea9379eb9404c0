package kafka

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/sink"
)

// Sink writes to the topics of one Kafka cluster. It is safe for concurrent use; its writers are not.
//
// A Sink has its own connections: one for each writer and broker while they write.
type Sink struct {
	topic    string
	cfg      Config
	cluster  *cluster
	buffers  sync.Pool    // of *batchBuffer
	open     atomic.Int32 // number of open writers
	failing  failing
	throttle throttle

	mu      sync.Mutex
	writers []*writer // the open ones; guarded by mu

	closed atomic.Bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink for a topic. brokers are addresses of the form host:port; one broker that is up is enough. The topic must
// be empty if Config.ByStream is set, and only then. The sink connects at the first
// Check or Write.
func New(brokers []string, topic string, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(brokers, topic); err != nil {
		return nil, fmt.Errorf("kafka: sink for topic %q: %w", topic, err)
	}
	return &Sink{topic: topic, cfg: cfg, cluster: newCluster(brokers, cfg)}, nil
}

// Open returns a writer. It does not connect: [Sink.Check] does, which a pipeline calls at its start.
func (s *Sink) Open() (sink.Writer, error) {
	if s.closed.Load() {
		return nil, errors.New("kafka: Open on a closed sink")
	}
	s.open.Add(1)
	w := &writer{sink: s, turn: rand.IntN(1 << 16), shards: make(map[shardID]*shard)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers = append(s.writers, w)
	return w, nil
}

// Close closes the connections and ends the goroutines of the sink. It fails while a writer is open.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("kafka: close the sink: %d writers are open: close them first", n)
	}
	if s.closed.Swap(true) {
		return errors.New("kafka: close the sink: it is already closed")
	}
	s.cluster.close()
	return nil
}
