// Virtual time: the bubbles are in the tests that use the harness.

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// spy wraps a source and checks the contract between it and the pipeline: no concurrent calls where one is allowed, no
// commit after or during Release, no frontier that moves back, and no progress beyond the ledger.
type spy struct {
	source.Source
	t      *testing.T
	oracle oracle // may be nil

	mu       sync.Mutex
	accepted []*spied
	closed   bool
}

// oracle knows what must not happen. A spy tells it about ownerships and commits.
type oracle interface {
	accepted(id source.ID, restored *commit.Progress)
	committed(id source.ID, p *commit.Progress)
}

// spied is a partition that a spy wraps.
type spied struct {
	source.Partition
	spy *spy

	mu         sync.Mutex
	committing bool
	released   bool
	releasedAt time.Time
	commits    []commit.Progress // stored commits
	tried      int
	frontier   int64
}

func watch(t *testing.T, src source.Source, l *ledger) *spy {
	t.Helper()
	if l == nil {
		return &spy{Source: src, t: t}
	}
	return &spy{Source: src, t: t, oracle: l}
}

func (s *spy) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	sp := &spied{Partition: p, spy: s, frontier: p.Restored().Frontier}
	if s.oracle != nil {
		s.oracle.accepted(p.ID(), p.Restored())
	}
	s.mu.Lock()
	s.accepted = append(s.accepted, sp)
	s.mu.Unlock()
	return sp, nil
}

func (s *spy) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.accepted {
		p.mu.Lock()
		if !p.released {
			s.t.Errorf("source closed before %v is released", p.ID())
		}
		p.mu.Unlock()
	}
	s.mu.Unlock()
	return s.Source.Close()
}

// epochs returns the ownerships of a partition in order.
func (s *spy) epochs(partition int32) (all []*spied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.accepted {
		if p.ID().Partition == partition {
			all = append(all, p)
		}
	}
	return all
}

func (p *spied) Commit(ctx context.Context, g *commit.Progress) (commit.Stored, error) {
	p.mu.Lock()
	p.tried++
	switch {
	case p.released:
		p.spy.t.Errorf("I8: commit of %v after its release", p.ID())
	case p.committing:
		p.spy.t.Errorf("I8: concurrent commits of %v", p.ID())
	case g.Epoch != p.ID().Epoch:
		p.spy.t.Errorf("I8: commit of %v with epoch %d", p.ID(), g.Epoch)
	case g.Frontier < p.frontier:
		p.spy.t.Errorf("I8: commit of %v moves back from %d to %d", p.ID(), p.frontier, g.Frontier)
	}
	p.committing = true
	p.frontier = g.Frontier
	p.mu.Unlock()
	if p.spy.oracle != nil {
		p.spy.oracle.committed(p.ID(), g)
	}
	err := errors.New("it ended its goroutine")
	defer func() { // also after a Goexit
		p.mu.Lock()
		defer p.mu.Unlock()
		p.committing = false
		if err == nil {
			p.commits = append(p.commits, *g)
		}
	}()
	var stored commit.Stored
	stored, err = p.Partition.Commit(ctx, g)
	return stored, err
}

func (p *spied) Release(ctx context.Context) error {
	p.mu.Lock()
	if p.released {
		p.spy.t.Errorf("second release of %v", p.ID())
	}
	if p.committing {
		p.spy.t.Errorf("I8: release of %v during a commit", p.ID())
	}
	p.released, p.releasedAt = true, time.Now()
	p.mu.Unlock()
	return p.Partition.Release(ctx)
}

func (p *spied) End() (int64, bool) {
	if l, ok := p.Partition.(source.Lagger); ok {
		return l.End()
	}
	return 0, false
}

func (p *spied) isReleased() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.released
}

// ledger is the oracle: it records each call of a handler and each commit, over several processes in a row, and checks
// what must never happen.
type ledger struct {
	t   *testing.T
	key func(m *keystrand.Message) string // a message's lane; "" has no order

	mu       sync.Mutex
	offsets  map[name][]int64      // by lane: all messages, recorded by put
	lanes    map[place]string      // the lane of each message
	settled  map[place]int         // number of successful handler calls
	when     map[place]settling    // time of the last successful call
	starts   map[place]int         // number of handler calls
	running  map[name]int          // running turns by lane
	last     map[laneEpoch]int64   // offset of the last started message by lane and epoch
	restored map[place]restoration // by partition and epoch
	fenced   map[place]bool
	diverted map[place]bool         // messages that a store of diverted keys has had
	overlaps bool                   // turns of one lane may overlap, for disconnected processes
	ahead    func(lane string) bool // reports whether a handler of the lane may start before the previous message's effect is durable
}

type name struct {
	partition int32
	lane      string
}

type place struct {
	partition int32
	at        int64
}

type laneEpoch struct {
	name
	epoch int64
}

type restoration struct{ *commit.Progress }

type settling struct {
	at    time.Time
	epoch int64
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{
		t:        t,
		key:      func(m *keystrand.Message) string { return string(m.Key) },
		offsets:  map[name][]int64{},
		lanes:    map[place]string{},
		settled:  map[place]int{},
		when:     map[place]settling{},
		starts:   map[place]int{},
		running:  map[name]int{},
		last:     map[laneEpoch]int64{},
		restored: map[place]restoration{},
		fenced:   map[place]bool{},
		diverted: map[place]bool{},
	}
}

// keeps records what a store of diverted keys has stored.
func (l *ledger) keeps(store *spill.Store) *spill.Store {
	store.SetFault(func(_ context.Context, c spill.Call) error {
		if c.Op != spill.Append || !c.Stored {
			return nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range c.Records {
			l.diverted[place{c.Owner.Partition, c.Records[i].Message.Offset}] = true
		}
		return nil
	})
	return store
}

// put records a message of the log.
func (l *ledger) put(partition int32, offset int64, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := name{partition, key}
	l.offsets[n] = append(l.offsets[n], offset)
	l.lanes[place{partition, offset}] = key
}

func (l *ledger) accepted(id source.ID, r *commit.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restored[place{id.Partition, id.Epoch}] = restoration{r}
	l.allSettledLocked("I3: restored", id, r)
}

// committed checks I3: every committed message is settled.
func (l *ledger) committed(id source.ID, p *commit.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allSettledLocked("I3: committed", id, p)
	now := time.Now()
	for at, s := range l.when { // I4: every message settled before, in virtual time, is in this commit
		if at.partition == id.Partition && s.epoch == id.Epoch && s.at.Before(now) && !p.Settled(at.at) {
			l.t.Errorf("I4: offset %d of %v was settled %v ago but is not in the commit (frontier %d, ahead %v)", at.at, id, now.Sub(s.at), p.Frontier, p.Ahead)
		}
	}
}

func (l *ledger) allSettledLocked(what string, id source.ID, p *commit.Progress) {
	for at := range l.lanes {
		if at.partition == id.Partition && p.Settled(at.at) && l.settled[at] == 0 && !l.diverted[at] {
			l.t.Errorf("%s progress of %v has unsettled offset %d (frontier %d, ahead %v)", what, id, at.at, p.Frontier, p.Ahead)
		}
	}
}

// begin checks I1 and I2 at the start of a handler. It returns the number of starts of the message.
func (l *ledger) begin(m *keystrand.Message) (starts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, at := name{m.Partition, l.key(m)}, place{m.Partition, m.Offset}
	l.starts[at]++
	if r := l.restored[place{m.Partition, m.Epoch}]; r.Progress != nil && r.Settled(m.Offset) && !l.diverted[at] {
		l.t.Errorf("I1: epoch %d handles %d/%d, which was committed as settled", m.Epoch, m.Partition, m.Offset)
	}
	if n.lane == "" {
		return l.starts[at]
	}
	if l.running[n]++; l.running[n] > 1 && !l.overlaps {
		l.t.Errorf("I2: %d concurrent turns of key %q of partition %d (offset %d)", l.running[n], n.lane, n.partition, m.Offset)
	}
	le := laneEpoch{n, m.Epoch}
	if last, ok := l.last[le]; ok && m.Offset < last {
		l.t.Errorf("I1: epoch %d handles %d/%d of key %q after %d", m.Epoch, m.Partition, m.Offset, n.lane, last)
	}
	l.last[le] = m.Offset
	if l.ahead != nil && l.ahead(n.lane) {
		return l.starts[at]
	}
	for _, o := range l.offsets[n] {
		if o < m.Offset && l.settled[place{m.Partition, o}] == 0 {
			l.t.Errorf("I1: %d/%d of key %q starts before %d is settled", m.Partition, m.Offset, n.lane, o)
		}
	}
	return l.starts[at]
}

// end is called when a handler is about to return.
func (l *ledger) end(m *keystrand.Message, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := (name{m.Partition, l.key(m)}); n.lane != "" {
		l.running[n]--
	}
	if err == nil {
		l.settled[place{m.Partition, m.Offset}]++
		l.when[place{m.Partition, m.Offset}] = settling{time.Now(), m.Epoch}
	}
}

// settle records a message settled without its handler.
func (l *ledger) settle(partition int32, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled[place{partition, offset}]++
}

// durable checks I1 and settles a message when its effect outside becomes durable.
func (l *ledger) durable(m *keystrand.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := name{m.Partition, l.key(m)}
	for _, o := range l.offsets[n] {
		if o < m.Offset && l.settled[place{m.Partition, o}] == 0 {
			l.t.Errorf("I1: the effect of %d/%d of key %q is durable before that of %d", m.Partition, m.Offset, n.lane, o)
		}
	}
	l.settled[place{m.Partition, m.Offset}]++
}

// tooOften is more handler calls for a message than any test needs.
const tooOften = 1000

// handler returns a handler that records the calls of f.
func (l *ledger) handler(f func(ctx context.Context, m *keystrand.Message) error) keystrand.Handler {
	return keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) (err error) {
		if n := l.begin(m); n >= tooOften {
			if n == tooOften {
				l.t.Errorf("I4: %d/%d handled %d times", m.Partition, m.Offset, n)
			}
			<-ctx.Done() // virtual time passes until the pipeline is stopped
			l.end(m, ctx.Err())
			return ctx.Err()
		}
		err = errors.New("panicked, or ended its goroutine")
		defer func() { l.end(m, err) }()
		err = f(ctx, m)
		return err
	})
}

// lost checks that every message was settled.
func (l *ledger) checkAllSettled() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, lane := range l.lanes {
		if l.settled[at] == 0 {
			l.t.Errorf("I3: %d/%d of key %q was never settled", at.partition, at.at, lane)
		}
	}
}

// repeats counts the messages that were settled more than once.
func (l *ledger) repeats() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.settled {
		n += times - 1
	}
	return n
}

func (l *ledger) started(partition int32, offset int64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.starts[place{partition, offset}]
}

// running is a pipeline that runs.
type running struct {
	*pipeline.Pipeline
	t      *testing.T
	cancel context.CancelCauseFunc
	over   chan struct{}
	err    error // result of Run; valid once over is closed
}

// start builds the pipeline and runs it until it ends or the test stops it.
func start(t *testing.T, b *pipeline.Builder) *running {
	t.Helper()
	return startWith(t, t.Context(), b)
}

func startWith(t *testing.T, ctx context.Context, b *pipeline.Builder) *running {
	t.Helper()
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	patience := time.AfterFunc(forever, func() { cancel(errHung) })
	r := &running{Pipeline: p, t: t, cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(r.over)
		defer patience.Stop()
		r.err = p.Run(ctx)
		if cause := context.Cause(ctx); errors.Is(cause, errHung) {
			r.err = errors.Join(cause, r.err)
		}
	}()
	t.Cleanup(func() { _ = r.stop() }) // a failed test leaves its pipeline running
	return r
}

// forever is the maximum run time of a pipeline in virtual time. A pipeline that hangs is then stopped, so that its
// test fails with a message.
const forever = 24 * time.Hour

var errHung = fmt.Errorf("the pipeline still ran after %v", forever)

// stop ends the pipeline and returns the result of Run.
func (r *running) stop() error {
	r.cancel(nil)
	return r.wait()
}

// wait waits for Run and returns its result. If Run ignores the stop, virtual time would pass until the test time
// limit. Therefore wait panics, which ends the bubble and names the test.
func (r *running) wait() error {
	select {
	case <-r.over:
	case <-time.After(2 * forever):
		panic(fmt.Sprintf("I10: %s: Run has not returned %v after it was told to stop: %+v", r.t.Name(), forever, r.Snapshot().Partitions))
	}
	r.cancel(nil)
	return r.err
}

// readOn has another member read a log to its end, after a crash or a stop, and checks that everything is settled.
func readOn(t *testing.T, log *memory.Log, l *ledger) {
	t.Helper()
	log.Close()
	if err := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).Handle(l.handler(nothing))).wait(); err != nil {
		t.Fatal(err)
	}
	l.checkAllSettled()
}

// part returns the snapshot of one partition.
func (r *running) part(t *testing.T, partition int32) pipeline.PartitionSnapshot {
	t.Helper()
	for _, p := range r.Snapshot().Partitions {
		if p.ID.Partition == partition {
			return p
		}
	}
	t.Fatalf("partition %d is not owned", partition)
	return pipeline.PartitionSnapshot{}
}

// keyed returns a message with a key.
func keyed(key string) keystrand.Message {
	return keystrand.Message{Key: []byte(key), Value: []byte("v")}
}

// keysOf returns n messages that cycle through the keys k0, k1, ….
func keysOf(n, keys int) []keystrand.Message {
	ms := make([]keystrand.Message, n)
	for i := range ms {
		ms[i] = keyed(fmt.Sprintf("k%d", i%keys))
	}
	return ms
}
