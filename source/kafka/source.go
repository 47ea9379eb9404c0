package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source/internal/health"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Source is one member of a consumer group. It implements [source.Source], [source.Mover]
// and [source.Prefetcher].
//
// Accept is for one goroutine, Report for any.
//
// Owns: the member (which waits for generations of the group), the watcher of topics, and for each generation of the
// group what kafka-go starts for it, its keeper and its committer.
type Source struct {
	cfg        Config
	brokers    []string
	group      string
	topics     []string
	memberName string // of the connections of the group, unlike any other

	dialer    *kafkago.Dialer
	transport *kafkago.Transport
	client    *kafkago.Client
	reading   fetch.Config
	limit     *metadataLimit
	health    *health.Health

	begin   sync.Once
	cancel  context.CancelFunc // of the goroutines; set by the first Accept, used by Close
	running sync.WaitGroup
	closing chan struct{}
	failed  chan struct{} // closed when err is set
	arrived chan struct{} // room for one: there is something in queue
	changed chan struct{} // room for one: the set of topics has changed

	mu      sync.Mutex // nothing else is locked, waited for or logged under it
	state   state
	err     error // why Accept ends; io.EOF: a finite source is at its end
	queue   []*Partition
	held    map[partitionName]*Partition // offered and not released, of any generation
	epochs  map[partitionName]int64      // our last ones
	tried   map[partitionName]int64      // the last ones we have tried to claim
	counts  map[string]int32             // partitions of each topic, as last seen
	found   map[string]int32             // the same when the source began; nil before
	ends    map[partitionName]int64      // where a finite source stops
	done    map[partitionName]bool       // has come there
	base    *baseline                    // what an overriding Start looks at
	losses  source.Losses                // of partitions, since the start
	current *generation                  // nil between generations
	joined  bool                         // once
	claims  assign.Claims
	closed  bool
}

// New returns a source that joins the group when Accept is first called. It makes no connection. Brokers are host:port
// of some brokers of the cluster. All errors of the configuration are returned at once: what no cluster could accept, like
// the name of a topic that no broker takes, is one of them.
func New(brokers []string, group string, topics []string, cfg Config) (*Source, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(checkNames(brokers, group, topics), cfg.validate()); err != nil {
		return nil, err
	}
	s := &Source{
		cfg:        cfg,
		brokers:    slices.Clone(brokers),
		group:      group,
		topics:     slices.Sorted(slices.Values(topics)),
		memberName: cfg.ClientID + "-" + rand.Text()[:8],
		limit:      newMetadataLimit(cfg.MetadataLimit),
		health:     health.New(cfg.Logger, "kafka"),
		closing:    make(chan struct{}),
		failed:     make(chan struct{}),
		arrived:    make(chan struct{}, 1),
		changed:    make(chan struct{}, 1),
		held:       make(map[partitionName]*Partition),
		epochs:     make(map[partitionName]int64),
		tried:      make(map[partitionName]int64),
		counts:     make(map[string]int32),
		ends:       make(map[partitionName]int64),
		done:       make(map[partitionName]bool),
	}
	s.dialer, s.transport = s.connections()
	s.client = &kafkago.Client{Addr: kafkago.TCP(s.brokers...), Transport: s.transport, Timeout: requestTimeout}
	s.reading = fetch.Config{
		Cluster: metadata.Client{
			Client:          wire.Client{Brokers: s.brokers, Transport: s.transport},
			ReadUncommitted: cfg.ReadUncommitted,
		},
		Log:          cfg.Logger,
		MaxBytes:     cfg.MaxBytes,
		Buffers:      &buffer.Pool{},
		MaxWait:      cfg.MaxWait,
		RackID:       cfg.RackID,
		OutOfRange:   fetch.OutOfRange(cfg.OutOfRange),
		StallTimeout: cfg.StallTimeout,
	}
	return s, nil
}

// Accept implements [source.Source]. The first call joins the group. Its errors are final: a topic does not exist, the
// credentials are refused, StartTimeout has passed, and so on; they name topic, group or mechanism. io.EOF: StopAtEnd
// is set and the group has committed every partition up to its end.
func (s *Source) Accept(ctx context.Context) (source.Partition, error) {
	s.begin.Do(func() { s.start(context.WithoutCancel(ctx)) })
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if p, err := s.take(); p != nil || err != nil {
			return p, err
		}
		select {
		case <-s.arrived:
		case <-s.failed:
		case <-ctx.Done():
		}
	}
}

// Moves implements [source.Mover]: partitions go from member to member.
func (s *Source) Moves() bool { return true }

// LimitPrefetch implements [source.Prefetcher]. Each partition holds at most two responses and one decompressed batch, and
// asks for a third of its equal share of the limit, at most Config.MaxBytes. Three things may exceed the limit: 16 KiB for
// each of the three if the share is less, a single batch that is larger than the request, and a batch that is larger when
// decompressed.
func (s *Source) LimitPrefetch(bytes int) { s.reading.Buffers.Limit(bytes) }

// Prefetched implements [source.Prefetcher].
func (s *Source) Prefetched() int64 { return s.reading.Buffers.Lent() }

// Close implements [source.Source]: it leaves the group and closes all connections. Partitions that were not released
// are an error; they are lost.
func (s *Source) Close() error {
	s.mu.Lock()
	already, left := s.closed, 0
	for _, p := range s.held {
		if !slices.Contains(s.queue, p) {
			left++
		}
	}
	s.closed = true
	s.state = stateClosed
	cancel := s.cancel
	s.mu.Unlock()
	if already {
		return errors.New("kafka: the source was closed twice")
	}
	s.begin.Do(func() {}) // a later Accept must not join
	close(s.closing)
	if cancel != nil {
		cancel()
	}
	s.running.Wait()
	s.transport.CloseIdleConnections()
	s.fail(errClosed)
	if left > 0 {
		return fmt.Errorf("kafka: the source was closed with %d partitions that are not released; they are lost", left)
	}
	return nil
}

var errClosed = errors.New("kafka: the source is closed")

// start begins to run in the background; ctx carries the values of Accept's, not its end: the membership outlives any
// one call.
func (s *Source) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancel = cancel
	closed := s.closed
	s.mu.Unlock()
	if closed {
		cancel()
		return
	}
	s.running.Go(func() { s.run(ctx) })
}

// take returns the next partition, or why there will be none.
func (s *Source) take() (source.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if len(s.queue) == 0 {
		return nil, nil //nolint:nilnil // nothing yet
	}
	p := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	return p, nil
}

// fail ends Accept; the first error counts.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	if s.state != stateClosed && !errors.Is(err, io.EOF) {
		s.state = stateFailed
	}
	close(s.failed)
}

// lost counts an ownership that was lost.
func (s *Source) lost(id source.ID, why string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = source.Losses{Count: s.losses.Count + 1, Last: id, At: now, Why: why}
}

// release takes a partition back from the pipeline and lets the generation look what is free now.
func (s *Source) release(p *Partition) {
	name := p.name
	finished, committed := p.ended()
	s.mu.Lock()
	if s.held[name] == p {
		delete(s.held, name)
	}
	g := p.gen
	if g.live[name] == p {
		delete(g.live, name)
	}
	if committed {
		s.done[name] = true
	}
	// A finite partition whose end was read and not committed is not done: its last messages come again.
	if (p.again || finished && !committed) && !g.ended {
		g.todo = append(g.todo, name)
	}
	current := s.current
	s.mu.Unlock()
	g.look()
	if current != nil && current != g {
		current.look()
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
