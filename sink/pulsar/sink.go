package pulsar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/pulsarprobe"
	"github.com/keystrand/keystrand/sink"
)

// Sink writes to the topics of one Pulsar cluster. It is safe for concurrent use; its writers are not.
//
// A Sink has one client of the library, and its writers share its connections. It runs each call of the library that may
// block in its own goroutine: to look up a topic, and to open or close a producer.
type Sink struct {
	topic    string
	cfg      Config
	client   client
	catalog  *catalog
	troubles *troubles
	calls    sync.WaitGroup // goroutines in a call of the client
	open     atomic.Int32   // number of open writers
	closed   atomic.Bool
	probe    chan *link // holds the link of Check

	mu      sync.Mutex
	writers []*writer // the open ones; guarded by mu
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink for a topic of a cluster.
//
//   - url has the form pulsar://host:6650 or pulsar+ssl://host:6651. Separate several hosts by commas.
//   - topic has the form topic or tenant/namespace/topic, with or without persistent:// before it. Errors and logs have its
//     full name. It must be empty if Config.ByStream is set, and only then.
//
// New requests a token from Config.Authentication, and asks several hosts of a URL whether they answer. It waits at most
// RequestTimeout. The sink connects at the first Check or Write.
func New(url, topic string, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(url, topic); err != nil {
		return nil, fmt.Errorf("pulsar: sink for topic %q: %w", topic, err)
	}
	t := &troubles{log: cfg.Logger}
	c, err := connect(url, pulsarprobe.Prefer, &cfg, t)
	if err != nil {
		return nil, fmt.Errorf("pulsar: sink for topic %q: %w", topic, err)
	}
	if topic != "" {
		topic = pulsarname.Full(topic)
	}
	return newSink(c, topic, cfg, t), nil
}

func newSink(c client, topic string, cfg Config, t *troubles) *Sink {
	s := &Sink{topic: topic, cfg: cfg, client: c, troubles: t}
	s.catalog = newCatalog(s)
	s.probe = make(chan *link, 1)
	s.probe <- &link{}
	return s
}

// Open returns a writer. It does not connect: [Sink.Check] does, which a pipeline calls at its start.
func (s *Sink) Open() (sink.Writer, error) {
	if s.closed.Load() {
		return nil, errors.New("pulsar: Open on a closed sink")
	}
	s.open.Add(1)
	w := &writer{
		sink: s, names: make(map[string]string), turn: rand.IntN(1 << 16),
		branches: make(map[string]*branch), parts: make(map[string][]int),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers = append(s.writers, w)
	return w, nil
}

// Close closes the connections and ends the goroutines of the sink. It fails while a writer is open. If the broker does not
// answer, Close returns an error after twice RequestTimeout. The connections then stay open until the library gives up, a few
// RequestTimeouts later.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("pulsar: close the sink: %d writers are open: close them first", n)
	}
	if s.closed.Swap(true) {
		return errors.New("pulsar: close the sink: it is already closed")
	}
	s.troubles.close()
	(<-s.probe).drop(s)
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.calls.Wait() // a call that runs while the client closes would leave its connection open
		s.client.Close()
	}()
	limit := 2 * s.cfg.RequestTimeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-over:
		return nil
	case <-timer.C:
		return fmt.Errorf("pulsar: close the sink: no answer from the broker within %v: the connections close later", limit)
	}
}
