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

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Source is one member of a consumer group. It implements [source.Source], [source.Mover], [source.Prefetcher] and
// [source.Describer].
//
// Accept is for one goroutine, Report for any.
//
// Owns: the member, the watcher of topics, requests about the members for the log, and for each generation its committer,
// its heartbeats and the end of its offers.
type Source struct {
	cfg        Config
	topics     []string
	described  source.Description
	cluster    *cluster.Client
	membership group.Config
	reading    fetch.Config
	limit      *progress.Limit

	descriptors func() (limit, open int, known bool) // of this process

	begin   sync.Once
	cancel  context.CancelFunc // of the goroutines; set by the first Accept, used by Close
	running sync.WaitGroup
	closing chan struct{}
	failed  chan struct{} // closed when err is set
	arrived chan struct{} // room for one: queue is not empty
	changed chan struct{} // room for one: the set of topics has changed

	mu      sync.Mutex
	state   state
	err     error // why Accept ends; io.EOF: a finite source is at its end
	queue   []*Partition
	held    map[assign.Partition]*Partition         // offered and not released, of any generation
	epochs  map[assign.Partition]int64              // of our last ownership
	tried   map[assign.Partition]int64              // of our last claim, stored or not
	counts  map[string]int32                        // partitions of each topic, as last seen
	found   map[string]int32                        // counts as of the start; nil until then
	ends    map[assign.Partition]int64              // of a finite source
	done    map[assign.Partition]bool               // its end is committed
	base    map[assign.Partition]progress.Committed // at the start, if the group was empty; nil if it was not
	losses  source.Losses                           // since the start
	current *generation                             // nil between generations
	joined  bool                                    // at least once
	claims  assign.Claims
	members map[string]string // of the group, by id, as of the last join; nil if unknown
}

// New returns a source that joins the group when Accept is first called. It makes no connection. Brokers are host:port
// of some brokers of the cluster. New returns all errors of the configuration at once, including names that no cluster
// could accept.
func New(brokers []string, groupName string, topics []string, cfg Config) (*Source, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cluster.CheckNames(brokers, groupName, topics), cfg.validate()); err != nil {
		return nil, err
	}
	s := &Source{
		cfg:         cfg,
		topics:      slices.Sorted(slices.Values(topics)),
		described:   source.Description{System: "kafka", Group: groupName, Servers: slices.Clone(brokers)},
		limit:       progress.NewLimit(cfg.MetadataLimit),
		descriptors: descriptors,
		state:       stateConnecting,
		closing:     make(chan struct{}),
		failed:      make(chan struct{}),
		arrived:     make(chan struct{}, 1),
		changed:     make(chan struct{}, 1),
		held:        make(map[assign.Partition]*Partition),
		epochs:      make(map[assign.Partition]int64),
		tried:       make(map[assign.Partition]int64),
		counts:      make(map[string]int32),
		ends:        make(map[assign.Partition]int64),
		done:        make(map[assign.Partition]bool),
	}
	s.cluster = cluster.New(cluster.Config{
		Brokers:        slices.Clone(brokers),
		Group:          groupName,
		Topics:         s.topics,
		ClientID:       cfg.ClientID,
		SessionTimeout: cfg.SessionTimeout,
		Backoff:        cfg.JoinBackoff,
		TLS:            cfg.TLS,
		SASL:           cfg.SASL,
		Dial:           cfg.Dial,
		MaxWait:        cfg.MaxWait,
		Log:            cfg.Logger,
	})
	s.membership = group.Config{
		Cluster:           s.cluster,
		Name:              cfg.ClientID + "-" + rand.Text()[:8],
		HeartbeatInterval: cfg.HeartbeatInterval,
		RebalanceTimeout:  cfg.RebalanceTimeout,
		Strategy:          cfg.Strategy,
		Claims:            s.claimed,
		Find:              s.find,
		Refused:           s.fail,
	}
	s.reading = fetch.Config{
		Cluster: metadata.Client{
			Client:          wire.Client{Brokers: s.cluster.Brokers, Bootstrap: s.cluster.Net.Bootstrap(), Transport: s.cluster.Transport, Gate: wire.NewGate()},
			ReadUncommitted: cfg.ReadUncommitted,
			Report:          s.cluster.Report,
		},
		Log:          cfg.Logger,
		MaxBytes:     cfg.MaxBytes,
		Buffers:      &buffer.Pool{},
		Quota:        &fetch.Quota{},
		Faults:       &fetch.Faults{},
		MaxWait:      cfg.MaxWait,
		RackID:       cfg.RackID,
		OutOfRange:   fetch.OutOfRange(cfg.OutOfRange),
		StallTimeout: cfg.StallTimeout,
	}
	return s, nil
}

// Accept implements [source.Source]. The first call joins the group. Its errors are fatal, and name topic, group or SASL
// mechanism: a missing topic, refused credentials, a StartTimeout that has passed, and so on. It returns io.EOF when
// StopAtEnd is set and the group has committed the end of every partition.
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

// Moves implements [source.Mover]. It reports whether partitions move between members.
func (s *Source) Moves() bool { return !s.cfg.Alone }

// Describe implements [source.Describer].
func (s *Source) Describe() source.Description { return s.described }

// LimitPrefetch implements [source.Prefetcher]. Each partition holds at most two responses and a piece of a decompressed batch,
// and asks for a third of its equal share of the limit, at most Config.MaxBytes and at least 16 KiB. At the limit it fetches
// nothing ahead, and holds one response while Fetch hands it out. Only these may exceed the limit, because a broker sends a
// batch whole, and a piece may be larger.
func (s *Source) LimitPrefetch(bytes int) { s.reading.Buffers.Limit(bytes) }

// Prefetched implements [source.Prefetcher].
func (s *Source) Prefetched() int64 { return s.reading.Buffers.Lent() }

// Close implements [source.Source]: it leaves the group and closes all connections. It returns an error if partitions are not
// released; they are lost.
func (s *Source) Close() error {
	s.mu.Lock()
	already, left := s.state == stateClosed, 0
	for _, p := range s.held {
		if !slices.Contains(s.queue, p) {
			left++
		}
	}
	s.state = stateClosed
	cancel := s.cancel
	s.mu.Unlock()
	if already {
		return errors.New("kafka: close: the source is already closed")
	}
	s.begin.Do(func() {}) // a later Accept must not join
	if cancel != nil {
		cancel() // first: a generation that ends because of closing must not be followed by a join
	}
	close(s.closing)
	s.running.Wait()
	s.cluster.Close()
	s.fail(errClosed)
	if left > 0 {
		return fmt.Errorf("kafka: close: %d partitions were not released; they are lost", left)
	}
	return nil
}

var (
	// ErrStartTimeout is the error of Accept when Config.StartTimeout passes before the group is joined.
	ErrStartTimeout = errors.New("kafka: the group was not joined before StartTimeout")
	// ErrNotAlone is the error of Accept with Config.Alone when the group has another member.
	ErrNotAlone = errors.New("kafka: the group has other members")
	// ErrTopicMissing is the error of Accept when a topic does not exist.
	ErrTopicMissing = errors.New("kafka: the topic does not exist")
	// ErrForeignProgress is the error of Accept with the policy ForeignFail.
	ErrForeignProgress = errors.New("kafka: committed progress is foreign")

	errClosed = errors.New("kafka: the source is closed")
)

// start runs the member in the background. ctx must not end with a call of Accept: the membership outlives it.
func (s *Source) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancel = cancel
	closed := s.state == stateClosed
	s.mu.Unlock()
	if closed {
		cancel()
		return
	}
	s.running.Go(func() { s.run(ctx) })
}

// take returns the next partition, or why there is none any more; nil, nil: none yet.
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

// fail ends Accept with the first error that it is given.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	if s.state != stateClosed && err != io.EOF { //nolint:errorlint // a wrapped io.EOF is not the end of a finite source
		s.state = stateFailed
	}
	close(s.failed)
}

// lost counts the loss of an ownership.
func (s *Source) lost(id source.ID, why string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = source.Losses{Count: s.losses.Count + 1, Last: id, At: now, Why: why}
}

// release removes a released partition and wakes the generations that may offer it again.
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
	// A finite partition without a commit of its end is not done: offer its last messages again.
	if (p.again || finished && !committed) && !g.ended {
		g.todo = append(g.todo, name)
	}
	current := s.current
	s.mu.Unlock()
	poke(g.wake)
	if current != nil && current != g {
		poke(current.wake)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
