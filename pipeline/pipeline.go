package pipeline

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/source"
)

// Pipeline reads a source, handles its messages in order per key and commits what is settled. It is made by
// [Builder.Build] and runs once. All methods are safe for concurrent use.
type Pipeline struct {
	cfg     config
	log     *slog.Logger
	next    keystrand.Next // all middleware around the handler
	exec    *keyed.Executor[item]
	budget  *budget.Budget
	outputs *outlets // of the sink; nil without one
	letters *letters // of the dead-letter sinks
	seed    maphash.Seed

	started atomic.Bool
	counts  counters

	mu         sync.Mutex
	owned      map[name]*partition // guarded by mu
	paused     map[name]bool       // partitions an operator has paused, owned or not; guarded by mu
	fail       func(error)         // ends Run with this error; set by Run; guarded by mu
	turnedAway []source.Partition  // offered while they were owned already; guarded by mu
	stuck      []Stuck             // handlers that were given up; guarded by mu
	state      State               // guarded by mu
	accepted   bool                // a partition was owned at least once; guarded by mu
}

// name is a partition without its epoch.
type name struct {
	stream    string
	partition int32
}

// item is what a lane holds: a message and what the pipeline must know of it. A waiting key costs its lane and this, so
// it is kept small.
type item struct {
	keystrand.Message
	number int64  // the tracker's
	size   uint32 // in bytes, as the budget counts it: whoever handles the message may change it
	marks  marks
	blocks uint8 // how often its key was blocked because of it
}

func (it *item) usage() budget.Usage { return budget.Usage{Messages: 1, Bytes: int(it.size)} }

// marks are facts about an item. They are written by the turn that has it and read by its later turns.
type marks uint8

const (
	unkeyed marks = 1 << iota // its key function failed: partition.keyErrors tells how
	cloned                    // its bytes are its own, not a piece of a larger chunk
	blocked                   // it failed, and is handled again after a pause or when an operator says so
	sinking                   // it leaves its lane although its output, which settles it, is not durable yet
)

func (m marks) has(x marks) bool { return m&x != 0 }

// ErrRunTwice is what Run returns when it was called before.
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
	p.letters = newLetters(p)
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
	})
	return p, err
}

// peek copies what a snapshot shows of a message whose handler runs: what nobody writes meanwhile.
func peek(dst, it *item) {
	dst.Epoch, dst.Offset, dst.Fetched = it.Epoch, it.Offset, it.Fetched
}

// failed ends Run with err, after everything that is settled was committed. The first error wins.
func (p *Pipeline) failed(err error) {
	p.mu.Lock()
	fail := p.fail
	p.mu.Unlock()
	fail(err)
}

// enter adds a partition to those owned. It takes over an operator's pause.
func (p *Pipeline) enter(pt *partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owned[pt.name], p.accepted = pt, true
	pt.paused.Store(p.paused[pt.name])
}

// exit removes a partition from those owned.
func (p *Pipeline) exit(pt *partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owned[pt.name] == pt {
		delete(p.owned, pt.name)
	}
}

// partitions returns those owned now.
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

// base returns ctx without its cancel: handlers, commits and releases outlive the end of Run's ctx.
func base(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// firstError keeps the first error it is given.
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
