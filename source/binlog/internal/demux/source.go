package demux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/internal/health"
)

// Source reads a log and hands out each of its tables as a partition. It implements [source.Source], [source.Prefetcher],
// [source.Reporter] and [source.Keyer].
//
// Accept is for one goroutine; Key, Report and Prefetched for any.
//
// Owns: one goroutine that claims tables and then reads the log for all of them, one that moves idle tables, and one for each
// table that is read apart, at most Config.CatchUp.
type Source struct {
	cfg    Config
	log    Log
	prefix string // of streams
	health *health.Health

	held   atomic.Int64 // bytes in queues
	full   atomic.Int64 // tables with bytes in their queues
	hungry atomic.Int64 // calls of Fetch that wait for rows of the shared reader
	limit  atomic.Int64 // of held

	begin   sync.Once
	cancel  context.CancelFunc // of the goroutines; set by the first Accept
	running sync.WaitGroup
	failed  chan struct{} // closed when err is set
	arrived chan struct{} // room for one: offers is not empty
	freed   chan struct{} // room for one: owned has one less

	mu     sync.Mutex
	state  state
	err    error // why Accept ends
	offers []*table
	owned  map[*table]bool // accepted and not released
	lost   map[string]bool // tables of which this process is not the owner any more
	tables []*table        // of the current session
	losses source.Losses
}

// New returns a source that reads log when Accept is first called. It returns all errors of the configuration at once.
func New(log Log, cfg Config) (*Source, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Source{
		cfg:     cfg,
		log:     log,
		health:  health.New(cfg.Logger, cfg.Package),
		failed:  make(chan struct{}),
		arrived: make(chan struct{}, 1),
		freed:   make(chan struct{}, 1),
		state:   stateStarting,
		owned:   make(map[*table]bool),
		lost:    make(map[string]bool),
	}
	if cfg.Name != "" {
		s.prefix = cfg.Name + "/"
	}
	s.limit.Store(int64(cfg.QueueBytes))
	return s, nil
}

// Accept implements [source.Source]. Its errors are final: the log is gone at the place where a restart has to begin, another
// process has taken over, and so on.
func (s *Source) Accept(ctx context.Context) (source.Partition, error) {
	s.begin.Do(func() { s.start(context.WithoutCancel(ctx)) })
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if t, err := s.take(); t != nil || err != nil {
			return t, err
		}
		select {
		case <-s.arrived:
		case <-s.failed:
		case <-ctx.Done():
		}
	}
}

// Key implements [source.Keyer]: see [binlog.Key].
func (s *Source) Key(m *keystrand.Message) (keystrand.Key, error) { return binlog.Key(m) }

// LimitPrefetch implements [source.Prefetcher]. It lowers Config.QueueBytes. At the limit each table with rows may hold an equal
// share of it, so together they hold less than twice as much, and each one event more: a table whose queue is empty always gets
// the next event.
func (s *Source) LimitPrefetch(bytes int) { s.limit.Store(min(int64(bytes), int64(s.cfg.QueueBytes))) }

// Prefetched implements [source.Prefetcher].
func (s *Source) Prefetched() int64 { return s.held.Load() }

// Close implements [source.Source]. It returns an error if tables are not released; they are lost.
func (s *Source) Close() error {
	s.mu.Lock()
	already, left, cancel := s.state == stateClosed, len(s.owned), s.cancel
	s.state = stateClosed
	s.mu.Unlock()
	if already {
		return fmt.Errorf("%s: close: the source is already closed", s.cfg.Package)
	}
	s.begin.Do(func() {}) // a later Accept must not start it
	if cancel != nil {
		cancel()
	}
	s.running.Wait()
	s.fail(fmt.Errorf("%s: the source is closed", s.cfg.Package))
	s.withdraw()
	if left > 0 {
		return fmt.Errorf("%s: close: %d tables were not released; they are lost", s.cfg.Package, left)
	}
	return nil
}

// start runs the source in the background. ctx must not end with a call of Accept.
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

// run reads the log in one session after another. A session ends when the numbers of its rows no longer hold.
func (s *Source) run(ctx context.Context) {
	anew := false // number the rows anew
	for {
		ses, err := s.open(ctx, anew)
		if err == nil {
			err = ses.run(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errOther), errors.Is(err, errCount):
			s.logRenumber(ctx, err)
			anew = errors.Is(err, errCount)
		default:
			s.fail(fmt.Errorf("%s: %w", s.cfg.Package, err))
			return
		}
		if !s.revoke(ctx) {
			return
		}
	}
}

// take returns the next table that is offered, or why there are no more; nil, nil: none yet.
func (s *Source) take() (source.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if len(s.offers) == 0 {
		return nil, nil //nolint:nilnil // nothing yet
	}
	t := s.offers[0]
	s.offers = slices.Delete(s.offers, 0, 1)
	s.owned[t] = true
	return t, nil
}

// offer makes Accept return these tables.
func (s *Source) offer(ts ...*table) {
	s.mu.Lock()
	s.offers = append(s.offers, ts...)
	s.tables = append(s.tables, ts...)
	if s.state == stateStarting {
		s.state = stateReading
	}
	s.mu.Unlock()
	poke(s.arrived)
}

// withdraw takes back the tables that were not accepted.
func (s *Source) withdraw() {
	s.mu.Lock()
	offers := s.offers
	s.offers = nil
	s.mu.Unlock()
	for _, t := range offers {
		_ = t.tenure.Release() // nobody else has it
		t.drop()
	}
}

// revoke asks for all tables back and waits until they are released. It reports false if ctx ends before.
func (s *Source) revoke(ctx context.Context) bool {
	s.withdraw()
	s.mu.Lock()
	owned := slices.Collect(maps.Keys(s.owned))
	s.mu.Unlock()
	for _, t := range owned {
		t.tenure.Revoke(source.Leave{})
		poke(t.wake)
	}
	for {
		s.mu.Lock()
		left := len(s.owned)
		if left == 0 {
			s.tables = nil
			s.state = stateStarting
		}
		s.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-s.freed:
		case <-ctx.Done():
			return false
		}
	}
}

// released records that a table was released.
func (s *Source) released(t *table) {
	s.mu.Lock()
	delete(s.owned, t)
	s.mu.Unlock()
	poke(s.freed)
}

// loses records the loss of a table.
func (s *Source) loses(t *table, why string) {
	now := time.Now()
	s.mu.Lock()
	s.losses = source.Losses{Count: s.losses.Count + 1, Last: t.id, At: now, Why: why}
	s.lost[t.name] = true
	s.mu.Unlock()
	t.ses.wakeMeeting()
	s.failIfFenced()
}

// failIfFenced fails a source that has lost all tables but those with a fault. The latter commit nothing, so they never learn that
// they are lost.
func (s *Source) failIfFenced() {
	s.mu.Lock()
	count, tables := s.losses.Count, s.tables
	s.mu.Unlock()
	if count == 0 || slices.ContainsFunc(tables, func(t *table) bool { return !s.isLost(t.name) && !t.hasFault() }) {
		return
	}
	s.fail(fmt.Errorf("%s: another process has taken over all tables: stop one of the two; or their progress was deleted: restart: %w",
		s.cfg.Package, commit.ErrFenced))
}

// isLost reports whether this process has lost a table.
func (s *Source) isLost(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost[name]
}

// fail ends Accept with the first error that it is given.
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
}

// room reports whether a table that holds so many bytes may hold more. An empty queue always has room.
func (s *Source) room(holds, more int64) bool {
	if holds == 0 {
		return true
	}
	limit := s.limit.Load()
	share := limit / max(1, s.full.Load())
	return holds+more <= int64(s.cfg.TableBytes) && (s.held.Load()+more <= limit || holds+more <= share)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
