package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/health"
)

// Source is a member of those who share a subscription. It implements [source.Source].
type Source struct {
	cfg          Config
	url          string
	subscription string
	topics       []string // sorted
	name         string   // of this process, the same for all partitions: so the broker spreads them
	connect      func() (client, error)
	web          *http.Client // for Pattern

	begin   sync.Once
	cancel  context.CancelFunc
	running sync.WaitGroup
	client  client
	known   *catalogue // of discover
	health  *health.Health
	lines   *lines

	failed  chan struct{} // closed when err is set
	arrived chan struct{} // something is in the queue
	look    chan struct{} // look at the topics now

	mu         sync.Mutex
	state      state
	err        error
	closed     bool
	stopped    bool // there is no Accept any more
	accepting  bool
	queue      []*Partition            // offered
	held       map[*Partition]struct{} // accepted and not released
	contenders map[string]*contender   // by the topic of the partition
	epoch      int64                   // the highest of any partition
	moved      map[string][]string     // topics of partitions to which Start was applied, by stream
	losses     source.Losses
	endAt      time.Time // when the library last closed a connection because a topic had ended
}

// New returns a source that reads topics with a subscription, which all processes share that divide the partitions among
// themselves. It makes no connection; that begins with the first Accept. All configuration errors are returned at once.
//
// url is of the form pulsar://host:6650 or pulsar+ssl://host:6651; several hosts are separated by commas. Topics are named
// in full (persistent://tenant/namespace/topic) or in part (topic, in public/default). Beside the subscription,
// the brokers get one of the name subscription-owner, which holds nothing and vanishes with the last process.
func New(url, subscription string, topics []string, cfg Config) (*Source, error) {
	cfg = cfg.withDefaults()
	var errs []error
	if err := pulsarname.CheckURL(url); err != nil {
		errs = append(errs, fmt.Errorf("pulsar: %w", err))
	} else if cfg.TLS != nil && !pulsarname.Encrypts(url) && !strings.HasPrefix(cfg.AdminURL, "https://") {
		errs = append(errs, errors.New("pulsar: there is Config.TLS, and nothing is encrypted with it: want a URL of the form pulsar+ssl://host:6651"))
	}
	if subscription == "" {
		errs = append(errs, errors.New("pulsar: no subscription is given"))
	}
	if len(topics) == 0 && cfg.Pattern == nil {
		errs = append(errs, errors.New("pulsar: no topics are given, and no Pattern"))
	}
	errs = append(errs, checkTopics(topics), cfg.validate(), cfg.Start.among(topics, cfg.Pattern))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	plain := cfg.Logger // for the library's lines, which name the subscription themselves
	cfg.Logger = plain.With(slog.String("subscription", subscription))
	s := &Source{
		cfg:          cfg,
		url:          url,
		subscription: subscription,
		topics:       slices.Sorted(slices.Values(topics)),
		name:         cfg.Name + "-" + randomLetters(),
		web:          webClient(cfg),
		health:       health.New(cfg.Logger, "pulsar"),
		failed:       make(chan struct{}),
		arrived:      make(chan struct{}, 1),
		look:         make(chan struct{}, 1),
		held:         make(map[*Partition]struct{}),
		contenders:   make(map[string]*contender),
		moved:        make(map[string][]string),
	}
	s.lines = &lines{log: plain, dead: s.died, broke: s.broke, unknown: s.unknown, ends: s.ends, attached: s.attached}
	if cfg.ChunkTimeout > 0 {
		s.lines.dropped = s.dropped
	}
	s.connect = s.dial
	return s, nil
}

// randomLetters tells processes apart.
func randomLetters() string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 8)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

// Accept implements [source.Source]. The first call connects. Its errors are final: a topic does not exist, the
// credentials are refused, StartTimeout has passed, and so on; they name topic and subscription.
func (s *Source) Accept(ctx context.Context) (source.Partition, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.begin.Do(func() { s.start(context.WithoutCancel(ctx)) })
	s.want(true)
	defer s.want(false)
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

// Moves implements [source.Mover]: partitions go from process to process, unless there is one alone.
func (s *Source) Moves() bool { return !s.cfg.Alone }

// Stop implements [source.Stopper]: it takes back all candidates, so that the broker chooses others, and what was offered and not
// accepted. Those who are chosen wait for the locks of what is accepted and have each as soon as it is released. The end of
// Accept's ctx would not do as a sign of that: another call may follow, which is to lose nothing.
func (s *Source) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, c := range s.contenders {
		c.poke()
	}
}

// Close implements [source.Source]: it takes back all candidates and closes all connections. Partitions that were not
// released are an error; they are lost.
func (s *Source) Close() error {
	s.mu.Lock()
	already := s.closed
	left := slices.Collect(maps.Keys(s.held))
	left = slices.DeleteFunc(left, func(p *Partition) bool { return p.tenure.Released() })
	s.closed, s.state = true, stateClosed
	s.mu.Unlock()
	if already {
		return errors.New("pulsar: the source was closed twice")
	}
	s.fail(errClosed)
	s.begin.Do(func() {}) // a later Accept must not connect
	s.mu.Lock()
	cancel, c := s.cancel, s.client
	s.mu.Unlock()
	for _, p := range left {
		p.shut()
	}
	if cancel != nil {
		cancel()
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	// What hangs in the library ends when its connections do.
	patience := time.NewTimer(s.cfg.OperationTimeout)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if c != nil {
			c.close() // may hang as well
		}
		<-ended
		s.web.CloseIdleConnections()
	}()
	patience.Reset(patientCalls * s.cfg.OperationTimeout)
	select {
	case <-closed:
	case <-patience.C:
		return fmt.Errorf("pulsar: the source is closed, but calls of the client library have not returned within %v", patientCalls*s.cfg.OperationTimeout)
	}
	if len(left) > 0 {
		return fmt.Errorf("pulsar: the source was closed with %d partitions that are not released; they are lost", len(left))
	}
	return nil
}

var errClosed = errors.New("pulsar: the source is closed")

var errNoMore = errors.New("pulsar: Accept was called after Stop")

// dropped is told by the library's log that a message in chunks is given up.
func (s *Source) dropped(topic, line string) {
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "pulsar: a chunk is dropped, for its message was not complete within ChunkTimeout: it is lost",
		slog.String("topic", topic), slog.String("line", line))
}

// want notes whether somebody waits in Accept. Contenders that have given up begin anew when somebody does.
func (s *Source) want(accepting bool) {
	s.mu.Lock()
	s.accepting = accepting
	if accepting {
		for _, c := range s.contenders {
			c.poke()
		}
	}
	s.mu.Unlock()
}

// wanted tells whether somebody waits for a partition.
func (s *Source) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepting && s.err == nil
}

// over tells whether Accept will bring nothing more.
func (s *Source) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil || s.stopped
}

// offer gives a partition to Accept.
func (s *Source) offer(p *Partition) {
	s.mu.Lock()
	s.queue = append(s.queue, p)
	if s.err == nil { // else it is taken back: what was attached late makes nothing work again
		s.state = stateMember
	}
	s.mu.Unlock()
	poke(s.arrived)
}

// take returns the next partition, or why there will be none.
func (s *Source) take() (source.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.stopped:
		return nil, errNoMore
	}
	if len(s.queue) == 0 {
		return nil, nil //nolint:nilnil // nothing yet
	}
	p := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.held[p] = struct{}{}
	return p, nil
}

// withdraw takes an offer back. It reports false when it was accepted.
func (s *Source) withdraw(p *Partition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, p)
	if i < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return true
}

// forget notes that a partition was released.
func (s *Source) forget(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, p)
}

// fail ends Accept; the first error counts.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	if s.state != stateClosed {
		s.state = stateFailed
	}
	close(s.failed)
	for _, c := range s.contenders {
		c.poke() // what is offered is given back
	}
}

// nextEpoch returns an epoch greater than those of all earlier owners, as far as the clocks of the processes agree. One
// number serves all partitions, so nothing is kept for each.
func (s *Source) nextEpoch() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch+1, time.Now().UnixMicro())
	return s.epoch
}

// claimed records an epoch that the store has given.
func (s *Source) claimed(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch, epoch)
}

// sought reports whether Start was applied to a partition.
func (s *Source) sought(c *contender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.moved[c.stream], c.topic)
}

// seeked records that Start was applied to a partition. Named topics are kept for the life of the source, matching ones
// until they are not listed any more: one that the library reports missing for a moment is still the same log.
func (s *Source) seeked(c *contender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, gone := c.look(); gone && c.passing {
		return // unlisted may have run before
	}
	s.moved[c.stream] = append(s.moved[c.stream], c.topic)
}
