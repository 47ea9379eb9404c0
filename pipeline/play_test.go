// Virtual time: the bubbles are in the tests that play.

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	store "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// play has what outlives its processes: a log with one partition, a store of diverted keys, and the record of what handlers
// have done.
//
// The key of a message is the name of its lane, several with "+" between them, "all" for a barrier, or empty for a message
// without order. The handler of a message whose value is "!" fails until its key is repaired.
type play struct {
	t     *testing.T
	log   *memory.Log
	store *store.Store
	work  time.Duration                         // what a handler takes
	kept  spill.Store                           // if it is not store
	wrap  func(src source.Source) source.Source // may be nil
	build func(b *pipeline.Builder)
	cfg   memory.Config              // of the source
	more  []*memory.Log              // further logs, whose messages are handled at once
	seen  func(m *keystrand.Message) // called at the start of a handler; may be nil

	mu        sync.Mutex
	keys      []string // by offset
	poisoned  map[int64]bool
	repaired  map[string]bool
	effects   []effect
	running   map[turnOf]int64    // offsets that handlers run for
	discarded map[string][2]int64 // by lane: from and through an offset
	dead      int64               // owners with a smaller epoch are dead
	epoch     int64               // the largest one
	ends      []time.Time         // of processes and ownerships
	current   *process            // the last one
	calls     int                 // of the store, each counted before and after it
	strike    func(n int, c store.Call) error
	trouble   store.Fault // as strike
}

// turnOf names the turns that must not overlap.
type turnOf struct {
	p    *process
	lane string
}

// effect is a call of a handler that succeeded.
type effect struct {
	offset int64
	at     time.Time
}

func newPlay(t *testing.T) *play {
	t.Helper()
	pl := &play{
		t: t, log: memory.NewLog("posts", 1), store: store.New(), work: 10 * time.Millisecond, poisoned: map[int64]bool{},
		repaired: map[string]bool{}, running: map[turnOf]int64{}, discarded: map[string][2]int64{},
	}
	pl.store.SetFault(pl.fault)
	return pl
}

// put appends messages with these keys. A key that ends in "!" is the one of a message whose handler fails.
func (pl *play) put(keys ...string) {
	for _, key := range keys {
		key, poisoned := strings.CutSuffix(key, "!")
		m := keyed(key)
		m.Time = time.Now()
		pl.mu.Lock()
		pl.poisoned[int64(len(pl.keys))] = poisoned
		pl.keys = append(pl.keys, key)
		pl.mu.Unlock()
		pl.log.Append(0, m)
	}
}

// keyByText returns the lanes of a message.
func keyByText(m *keystrand.Message) (keystrand.Key, error) {
	switch key := string(m.Key); key {
	case "":
		return keystrand.Key{}, nil
	case "all":
		return keystrand.Barrier(), nil
	case "unreadable":
		return keystrand.Key{}, errors.New("no key")
	default:
		return keystrand.KeysOf(strings.Split(key, "+")...), nil
	}
}

// fault is the Fault of the store.
func (pl *play) fault(ctx context.Context, c store.Call) error {
	pl.mu.Lock()
	pl.epoch = max(pl.epoch, c.Owner.Epoch)
	if c.Owner.Epoch < pl.dead {
		pl.mu.Unlock()
		return errors.New("the process is dead")
	}
	if c.Stored && c.Op == store.Save {
		for _, m := range c.Marks {
			if m.Change == spill.Resume && m.Through >= 0 {
				at, ok := pl.discarded[m.Key]
				if !ok {
					at[0] = m.Through
				}
				pl.discarded[m.Key] = [2]int64{at[0], m.Through}
			}
		}
	}
	n, strike, trouble := pl.calls, pl.strike, pl.trouble
	pl.calls++
	pl.mu.Unlock()
	if trouble != nil {
		return trouble(ctx, c)
	}
	if strike != nil {
		return strike(n, c)
	}
	return nil
}

// partOf returns the snapshot of partition 0 of a stream.
func (p *process) partOf(stream string) pipeline.PartitionSnapshot {
	p.t.Helper()
	for _, s := range p.Snapshot().Partitions {
		if s.ID.Stream == stream {
			return s
		}
	}
	p.t.Fatalf("%s/0 is not owned", stream)
	return pipeline.PartitionSnapshot{}
}

// latest returns the process that was started last.
func (pl *play) latest() *process {
	pl.mu.Lock()
	p := pl.current
	pl.mu.Unlock()
	<-p.started
	return p
}

// repair lets the messages of a key succeed.
func (pl *play) repair(key string) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.repaired[key] = true
}

// process is a pipeline that plays.
type process struct {
	*running
	started chan struct{} // closed when running is set
	pl      *play
	mem     *memory.Source
	dead    atomic.Bool
}

// process starts a process.
func (pl *play) process() *process {
	pl.t.Helper()
	p := &process{started: make(chan struct{}), pl: pl, mem: memory.NewSource(pl.cfg, append([]*memory.Log{pl.log}, pl.more...)...)}
	pl.mu.Lock()
	pl.current = p
	pl.mu.Unlock()
	var src source.Source = p.mem
	if pl.wrap != nil {
		src = pl.wrap(src)
	}
	kept := pl.kept
	if kept == nil {
		kept = pl.store
	}
	b := pipeline.From(watch(pl.t, src, nil)).Key(keyByText).HandleFunc(p.handle).Divert(kept).OnFailure(pipeline.Hold)
	if pl.build != nil {
		pl.build(b)
	}
	p.running = start(pl.t, b)
	close(p.started)
	return p
}

// kill ends the process as kill -9 does: nothing that it does later counts.
func (p *process) kill() {
	p.dead.Store(true)
	p.pl.mu.Lock()
	p.pl.dead = p.pl.epoch + 1
	p.pl.ends = append(p.pl.ends, time.Now())
	p.pl.mu.Unlock()
	p.mem.Crash()
}

// ended records the end of an ownership.
func (pl *play) ended() {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.ends = append(pl.ends, time.Now())
}

func (p *process) handle(ctx context.Context, m *keystrand.Message) error {
	if p.pl.seen != nil {
		p.pl.seen(m)
	}
	if m.Stream != p.pl.log.Stream() {
		return nil
	}
	p.pl.begin(p, m)
	select {
	case <-time.After(p.pl.work):
	case <-ctx.Done():
	}
	return p.pl.end(ctx, p, m)
}

// begin checks I2 at the start of a handler.
func (pl *play) begin(p *process, m *keystrand.Message) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, lane := range lanesOf(m.Key) {
		if other, ok := pl.running[turnOf{p, lane}]; ok {
			pl.t.Errorf("I2: %d of key %s is handled while %d is", m.Offset, m.Key, other)
		}
		pl.running[turnOf{p, lane}] = m.Offset
	}
}

// end is called at the end of a handler.
func (pl *play) end(ctx context.Context, p *process, m *keystrand.Message) error {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, lane := range lanesOf(m.Key) {
		delete(pl.running, turnOf{p, lane})
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case p.dead.Load():
		return errors.New("the process is dead")
	case pl.poisoned[m.Offset] && !pl.repaired[string(m.Key)]:
		return errBoom
	case m.Epoch < pl.epoch: // a store of effects that knows the epochs refuses it
		return nil
	}
	pl.effects = append(pl.effects, effect{m.Offset, time.Now()})
	return nil
}

func lanesOf(key []byte) []string {
	if len(key) == 0 {
		return nil
	}
	return strings.Split(string(key), "+")
}

// operate lists the held keys and does what their names say: it drops a key that begins with "drop", skips one message of a
// key that begins with "skip", and repairs and resumes others. It repairs and resumes blocked keys.
func (p *process) operate() {
	ctx, cancel := context.WithTimeout(p.pl.t.Context(), 5*time.Second)
	defer cancel()
	list, err := p.Held(ctx, "posts", 0, "", 100)
	if err != nil {
		return // it is not owned now
	}
	for _, s := range p.Snapshot().Partitions {
		for _, k := range s.ParkedKeys {
			if k.Why == pipeline.WhyBlocked {
				p.pl.repair(k.Key)
				p.Resume("posts", 0, k.Key)
			}
		}
	}
	for i := range list {
		switch key := list[i].Key; {
		case strings.HasPrefix(key, "drop"):
			_, _ = p.DropHeld(ctx, "posts", 0, key, "ann")
		case strings.HasPrefix(key, "skip"):
			_, _ = p.SkipHeld(ctx, "posts", 0, key, "ann")
		default:
			p.pl.repair(key)
			_, _ = p.ResumeHeld(ctx, "posts", 0, key, "ann")
		}
	}
}

// over reports whether everything is handled and committed, and the store is empty.
func (pl *play) over() bool {
	_, end := pl.log.Bounds(0)
	c := pl.log.Group("").Committed(0)
	return c != nil && c.Frontier == end && len(pl.store.Strands("posts", 0)) == 0
}

// check checks that every message is handled or was discarded, and the order of first and of last effects of each lane.
func (pl *play) check() {
	pl.t.Helper()
	pl.mu.Lock()
	defer pl.mu.Unlock()
	first, last := map[int64]int{}, map[int64]int{}
	for i, e := range pl.effects {
		if _, ok := first[e.offset]; !ok {
			first[e.offset] = i
		}
		last[e.offset] = i
	}
	for o, key := range pl.keys {
		at, discarded := pl.discarded[key]
		if _, ok := first[int64(o)]; !ok && (!discarded || int64(o) > at[1]) {
			pl.t.Errorf("I3: %d of key %q was never handled", o, key)
		}
	}
	before := map[string]int64{} // by lane: the offset before
	all := int64(-1)             // the barrier before
	ordered := func(a, b int64) {
		if a >= 0 && (first[a] > first[b] || last[a] > last[b]) {
			pl.t.Errorf("I1: effects of %d (%d first, %d last) and of %d (%d first, %d last) are out of order; keys %q and %q",
				a, first[a], last[a], b, first[b], last[b], pl.keys[a], pl.keys[b])
		}
	}
	for i, key := range pl.keys {
		o := int64(i)
		if _, ok := first[o]; !ok || key == "" || key == "unreadable" {
			continue
		}
		if key == "all" {
			for other := range maps.Values(before) {
				ordered(other, o)
			}
			clear(before)
			all = o
			continue
		}
		for _, lane := range lanesOf([]byte(key)) {
			a, ok := before[lane]
			if !ok {
				a = all
			}
			ordered(a, o)
			before[lane] = o
		}
	}
}

// checkReplays checks that every message that was handled again had been handled within a time before the end of an ownership.
func (pl *play) checkReplays(within time.Duration) {
	pl.t.Helper()
	pl.mu.Lock()
	defer pl.mu.Unlock()
	last := map[int64]time.Time{}
	for _, e := range pl.effects {
		if before, ok := last[e.offset]; ok {
			late := fmt.Sprint("no ownership has ended since ", before)
			for _, end := range pl.ends {
				if !end.Before(before) && !end.After(e.at) {
					if late = ""; end.Sub(before) > within {
						late = fmt.Sprintf("%v before the end of an ownership", end.Sub(before))
					}
					break
				}
			}
			if late != "" {
				pl.t.Errorf("I4: %d of key %q is handled again: %s", e.offset, pl.keys[e.offset], late)
			}
		}
		last[e.offset] = e.at
	}
}
