package pipeline

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/source"
)

// Pipeline reads a source, handles its messages in order per key and commits what is settled. [Builder.Build] makes it.
// It runs once. All methods are safe for concurrent use.
type Pipeline struct {
	cfg      config
	log      *slog.Logger
	next     keystrand.Next // the handler inside all middleware
	exec     *keyed.Executor[item]
	budget   *budget.Budget
	heldBack heldBack
	diverts  diverts  // what the diverted keys of all partitions share
	outputs  *outlets // writers of the sink; nil without a sink
	letters  *letters // writers of the dead-letter sinks
	sinks    sinks
	seed     maphash.Seed
	watchers watchers
	report   *reporter
	calls    calls
	ending   *ending
	fault    firstError // Run returns it

	started atomic.Bool
	counts  counters

	mu         sync.Mutex
	owned      map[name]*partition      // guarded by mu
	paused     map[name]bool            // partitions an operator has paused, owned or not; guarded by mu
	fail       func(error)              // ends Run with this error; set by Run; guarded by mu
	ownBy      func(*partition, *owner) // starts the goroutine of an owner; set by Run; guarded by mu
	turnedAway []source.Partition       // offered while already owned; guarded by mu
	stuck      []Stuck                  // abandoned handlers; guarded by mu
	state      State                    // guarded by mu
	runSince   time.Time                // when Run began; guarded by mu
	accepted   bool                     // at least one partition has been owned; guarded by mu
}

// name identifies a partition without its epoch.
type name struct {
	stream    string
	partition int32
}

// item is a message in a lane, with the pipeline's data about it. It is small, because every waiting message has one.
type item struct {
	keystrand.Message
	number int64  // number in the tracker
	size   uint32 // bytes charged to the budget; stored, since a handler may change the message
	marks  marks
	blocks uint8 // how often it has blocked its key
}

func (it *item) usage() budget.Usage { return budget.Usage{Messages: 1, Bytes: int(it.size)} }

// marks are flags of an item. The item's turn writes them, and its later turns read them.
type marks uint8

const (
	unkeyed marks = 1 << iota // its key function failed; partition.keyErrors has the error
	cloned                    // it has a copy of its bytes, not a part of a larger chunk
	blocked                   // it failed and is handled again after a pause or by Resume
	sinking                   // it leaves its lane before its output is durable, which settles it
	erred                     // it has failed; partition.errors has the texts
	pumping                   // it is a pump: it stands for the log of a diverted key
)

func (m marks) has(x marks) bool { return m&x != 0 }

// ErrRunTwice is the error of a second call of Run.
var ErrRunTwice = errors.New("pipeline: Run was called before: build another pipeline")

func newPipeline(cfg config, next keystrand.Next) (*Pipeline, error) {
	p := &Pipeline{
		cfg:  cfg,
		log:  cfg.log,
		next: next,
		budget: budget.New(
			budget.Usage{Messages: cfg.limits.InFlight, Bytes: cfg.limits.InFlightBytes},
			budget.Usage{Messages: cfg.limits.FetchMessages, Bytes: cfg.limits.FetchBytes}),
		seed:   maphash.MakeSeed(),
		owned:  map[name]*partition{},
		paused: map[name]bool{},
		fail:   func(error) {},
	}
	p.diverts.init(cfg)
	p.letters, p.report = newLetters(p), newReporter(p)
	p.ending = newEnding()
	p.sinks.p, p.sinks.news = p, make(chan struct{}, 1)
	turn := 1
	if cfg.batches {
		turn = cfg.limits.MaxBatch
	}
	var err error
	p.exec, err = keyed.New(keyed.Config[item]{
		Workers: cfg.limits.Workers,
		MaxTurn: turn,
		Share:   cfg.limits.KeyShare,
		Run:     p.turn,
		Finish:  p.finish,
		Exited:  p.exited,
		Peek:    peek,
		Idle:    idle,
	})
	return p, err
}

// peek copies the fields that a snapshot shows of a running message. A turn does not write these.
func peek(dst, it *item) {
	dst.Epoch, dst.Offset, dst.Fetched, dst.number = it.Epoch, it.Offset, it.Fetched, it.number
}

// failed ends Run with err, after a drain and a last commit. Run returns the first such error.
func (p *Pipeline) failed(err error) {
	p.mu.Lock()
	fail := p.fail
	p.mu.Unlock()
	fail(err)
}

// enter registers an owned partition and applies an operator's pause to it.
func (p *Pipeline) enter(pt *partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owned[pt.name()], p.accepted = pt, true
	pt.paused.Store(p.paused[pt.name()])
	pt.post.own = p.ownBy
}

// exit unregisters a partition.
func (p *Pipeline) exit(pt *partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owned[pt.name()] == pt {
		delete(p.owned, pt.name())
	}
}

// partitions returns the owned partitions.
func (p *Pipeline) partitions() []*partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*partition, 0, len(p.owned))
	for _, pt := range p.owned {
		all = append(all, pt)
	}
	return all
}

func (p *Pipeline) enterState(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
}

// base returns ctx without its cancellation: handlers, commits and releases outlive the end of Run's ctx.
func base(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// firstError keeps the first error it gets.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
