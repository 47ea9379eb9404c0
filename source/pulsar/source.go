package pulsar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/pulsarprobe"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/health"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
	"github.com/keystrand/keystrand/source/pulsar/internal/web"
)

// Source is one member of a shared subscription. It implements [source.Source] and [source.Describer].
type Source struct {
	cfg          Config
	url          string
	subscription string
	topics       []string // full names, sorted
	name         string   // of this process, the same for all partitions: so the broker spreads them
	connect      func() (client.Client, error)
	probe        func(ctx context.Context, addr, url string) error // is pulsarprobe.Probe; tests replace it
	web          *web.Service                                      // for Pattern

	begin      sync.Once
	cancel     context.CancelFunc
	calls      client.Group // all goroutines
	client     client.Client
	known      *catalogue // of discover
	health     *health.Health
	log        *client.Log
	unanswered unanswered
	unseen     sync.Once // a message whose form is not known has been logged

	failed  chan struct{} // closed when err is set
	arrived chan struct{} // the queue has grown
	look    chan struct{} // survey the topics now
	shifted chan struct{} // a partition was acquired or given up, or an election has ended

	mu         sync.Mutex
	state      string
	err        error
	closed     bool
	stopped    bool // no further Accept
	accepting  bool
	queue      []*Partition            // offered
	held       map[*Partition]struct{} // accepted and not released
	contenders map[string]*contender   // by the topic of the partition
	epoch      int64                   // the highest of any partition
	moved      map[string][]string     // streams that Start is about; the topics of their partitions that it has moved
	losses     source.Losses
	links      map[string]time.Time // addresses without a connection; when that was last reported
	endAt      time.Time            // when the library last closed a connection because of a terminated topic
}

// New returns a source that reads topics with a subscription. All processes with the same subscription divide the partitions
// among themselves. New makes no connection; the first Accept does. It returns all configuration errors at once.
//
// url has the form pulsar://host:6650 or pulsar+ssl://host:6651; commas separate several hosts. Topics have a full name
// (persistent://tenant/namespace/topic) or a short one (topic, in public/default). The source uses the full name everywhere:
// in Message.Stream, in Config.Store, in errors and in logs. The source also creates the subscription subscription-owner, which
// holds no messages and vanishes with the last process.
func New(url, subscription string, topics []string, cfg Config) (*Source, error) {
	cfg = cfg.withDefaults()
	var errs []error
	if err := pulsarname.CheckURL(url); err != nil {
		errs = append(errs, fmt.Errorf("pulsar: %w", err))
	} else if cfg.TLS != nil && !pulsarname.Encrypts(url) && !strings.HasPrefix(cfg.AdminURL, "https://") {
		errs = append(errs, errors.New("pulsar: Config.TLS is set but no URL uses TLS: want pulsar+ssl://host:6651"))
	}
	switch {
	case subscription == "":
		errs = append(errs, errors.New("pulsar: no subscription is given"))
	case pulsarname.Stray(subscription):
		errs = append(errs, fmt.Errorf("pulsar: subscription %q begins or ends with white space, or contains a control character", subscription))
	}
	if len(topics) == 0 && cfg.Pattern == nil {
		errs = append(errs, errors.New("pulsar: no topics are given, and no Pattern"))
	}
	errs = append(errs, checkTopics(topics), cfg.validate(), cfg.Start.among(topics, cfg.Pattern))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	cfg.Start = cfg.Start.full()
	plain := cfg.Logger // for the library's lines, which name the subscription themselves
	cfg.Logger = plain.With(slog.String("subscription", subscription))
	s := &Source{
		cfg:          cfg,
		url:          url,
		subscription: subscription,
		topics:       fullNames(topics),
		name:         cfg.Name + "-" + strings.ToLower(rand.Text()[:8]),
		calls:        client.Group{Timeout: cfg.OperationTimeout},
		health:       health.New(cfg.Logger, "pulsar"),
		failed:       make(chan struct{}),
		arrived:      make(chan struct{}, 1),
		look:         make(chan struct{}, 1),
		shifted:      make(chan struct{}, 1),
		held:         make(map[*Partition]struct{}),
		contenders:   make(map[string]*contender),
		state:        stateConnecting,
		moved:        make(map[string][]string),
		links:        make(map[string]time.Time),
		probe:        pulsarprobe.Probe,
	}
	for _, stream := range s.topics {
		s.moved[stream] = nil
	}
	s.web = web.New(web.Config{URL: cfg.AdminURL, Namespace: cfg.Namespace, TLS: cfg.TLS, Token: s.webToken, Timeout: cfg.OperationTimeout})
	s.log = client.NewLog(plain, url, s.events())
	s.connect = s.dial
	return s, nil
}

// Describe implements [source.Describer]. Group is the subscription.
func (s *Source) Describe() source.Description {
	return source.Description{System: "pulsar", Group: s.subscription, Servers: hosts(s.url)}
}

// Accept implements [source.Source]. The first call connects. Its errors are final: a topic does not exist, the
// credentials are refused, StartTimeout has passed, and so on. They name topic and subscription.
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

// Moves implements [source.Mover]. It reports whether partitions move between processes.
func (s *Source) Moves() bool { return !s.cfg.Alone }

// Stop implements [source.Stopper]. It withdraws all candidates, so that the broker elects others, and all partitions that
// were offered and not accepted. The new owners wait for the locks of accepted partitions and get each on its release. The
// end of Accept's ctx is no sign of that: another call may follow, and must lose nothing.
func (s *Source) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, c := range s.contenders {
		c.poke()
	}
}

// closeGrace bounds each of the two waits of Close, and a Release after Stop: a process that ends needs no answer of a broker
// that does not answer. The end of the process ends its connections.
const closeGrace = time.Second

// Close implements [source.Source]. It withdraws all candidates and closes all connections. It fails if partitions are not
// released; they are lost. It waits for brokers at most two seconds. Calls of the client library that have not returned by then
// end with its connections; Close logs that.
func (s *Source) Close() error {
	s.mu.Lock()
	already, failed := s.closed, s.err != nil
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
	s.log.Close()
	ended := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(ended)
	}()
	within(ended, closeGrace) // a call that hangs in the library ends with its connection
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if c != nil {
			c.Close() // may hang as well
		}
		<-ended
		s.web.HTTP.CloseIdleConnections()
	}()
	if !within(closed, closeGrace) && !failed { // else Accept has returned why the brokers do not answer
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn,
			"pulsar: closed, but calls of the client library have not returned: the brokers do not answer", slog.String("subscription", s.subscription))
	}
	if len(left) > 0 {
		return fmt.Errorf("pulsar: the source was closed with %d partitions that are not released; they are lost", len(left))
	}
	return nil
}

var (
	errClosed = errors.New("pulsar: the source is closed")
	errNoMore = errors.New("pulsar: Accept was called after Stop")
)
