package pulsar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/sink"
)

// Sink writes to the topics of one Pulsar cluster. It is safe for concurrent use; its writers are not.
//
// It owns one client of the library, whose connections its writers share, and a goroutine for each call of the library
// that may block without end of its own choosing: to look up a topic, to open or to close a producer.
type Sink struct {
	topic    string
	cfg      Config
	client   client
	catalog  *catalog
	troubles *troubles
	calls    sync.WaitGroup // goroutines that are in a call of the client
	open     atomic.Int32   // writers
	closed   atomic.Bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink for a topic (topic, tenant/namespace/topic, or either after persistent://) of the cluster behind a
// URL such as pulsar://host:6650 or pulsar+ssl://host:6651; several hosts are separated by commas. The topic is
// empty with Config.ByStream alone. New asks Config.Authentication for a first token, for RequestTimeout at most, and
// connects when the first message is written.
func New(url, topic string, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(url, topic); err != nil {
		return nil, fmt.Errorf("pulsar: sink for topic %q: %w", topic, err)
	}
	t := &troubles{}
	c, err := connect(url, &cfg, t)
	if err != nil {
		return nil, fmt.Errorf("pulsar: sink for topic %q: %w", topic, err)
	}
	return newSink(c, topic, cfg, t), nil
}

func newSink(c client, topic string, cfg Config, t *troubles) *Sink {
	s := &Sink{topic: topic, cfg: cfg, client: c, troubles: t}
	s.catalog = newCatalog(s)
	return s
}

// Open returns a writer. It does not connect.
func (s *Sink) Open() (sink.Writer, error) {
	if s.closed.Load() {
		return nil, errors.New("pulsar: Open on a closed sink")
	}
	s.open.Add(1)
	return &writer{sink: s, turn: rand.IntN(1 << 16), branches: make(map[string]*branch), parts: make(map[string][]int)}, nil
}

// Close ends all connections and goroutines of the sink. It fails while a writer is open. What the library still waits for,
// a broker that does not answer, it waits for at most twice RequestTimeout: then it returns an error that says so, and the
// connections end as soon as the library gives up, some RequestTimeouts later.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("pulsar: sink closed before its writers: %d are open", n)
	}
	if s.closed.Swap(true) {
		return errors.New("pulsar: sink closed twice")
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.calls.Wait() // to close the client under a call would leave the connection that this call opens
		s.client.Close()
	}()
	limit := 2 * s.cfg.RequestTimeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-over:
		return nil
	case <-timer.C:
		return fmt.Errorf("pulsar: the broker has not answered the closing of producers within %v: their connections end later", limit)
	}
}
