package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	spillmemory "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// world is one play: what its seed has drawn, and what has happened so far.
type world struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand // for the goroutine of play alone
	set  settings
	tally

	log   *memory.Log
	store *spillmemory.Store // nil in seeds without one
	out   *sinkmemory.Sink
	dlq   *sinkmemory.Sink
	began time.Time
	bg    sync.WaitGroup // operators

	members []*member // those that play has started and not yet seen to end

	mu        sync.Mutex
	parts     []*part
	healed    bool // nothing fails any more
	outage    [nOutages]outage
	troubled  time.Time // end of the last fault
	effects   int       // number of effects so far
	complaint int
	lines     []string // of the story
}

// settings is what the seed draws once.
type settings struct {
	how                         string // "handler", "batch" or "sink"
	partitions                  int32
	two                         bool // a second member from the beginning
	diverts                     bool
	policies                    []choice // by key
	mixed                       bool     // the policy differs from message to message of a key
	service                     time.Duration
	failing, poisoned, stubborn int // per cent of calls, of messages, of calls
	commitFaults, storeFaults   int // per cent of calls
	sinkFaults, refused         int // per cent of Writes, of messages
	unstorable                  int // per cent of messages, until members that were restarted know a larger limit
	attempts                    int // of the retry middleware; 0: none
	calm                        time.Duration
	load                        time.Duration
	pinned                      bool // blocked keys keep the frontier low, and commits can express little beyond it
	keep                        bool // leave held keys as they are at the end
	limits                      pipeline.Limits
	timing                      pipeline.Timing
	commitLimit                 int
	leaveTimeout                time.Duration
	late                        int // maximum milliseconds until a member hears that it lost a partition
}

// choice is what a policy decides.
type choice uint8

const (
	chooseHold choice = iota
	chooseBlock
	chooseBlockFor
	chooseSkip
	chooseLetter
	chooseStop
)

// kind is how a message is ordered.
type kind uint8

const (
	plain     kind = iota // one lane
	several               // several lanes
	barrier               // all lanes
	unordered             // none
	unkeyed               // none, since its key function fails
)

// part is one partition.
type part struct {
	number int32
	facts  []*fact         // by offset; constant
	at     map[int64]*fact // the same
	load   int             // of facts, those of the load; the others are added when it is settled
	added  int             // of facts, those that are in the log
	latest int64           // ownership
	epoch  int64           // whose effects count: the latest that has opened the store
	epochs map[int64]*tenure
	drops  map[string]int // calls under way that discard records, by key
	faults int64          // calls of the store so far, as a source of choices
}

// fact is one message and what is known about it.
type fact struct {
	place
	kind    kind
	lanes   []string
	mask    uint64 // a bit for each lane
	msg     keystrand.Message
	outs    int // outputs that it makes
	poison  int // calls that fail
	refusal int // Writes that the sink refuses for good

	calls   int // of the handler
	decided int // by the policy
	settled int
	effect  int // number of its last effect; 0: it has none, or was skipped or discarded since
	out     int // outputs that are durable
	when    time.Time
	by      int64  // epoch that settled it last
	logged  bool   // it is in the store
	key     string // of its strand there, now or before
	fromLog bool   // it was in the store when it was settled last
	dropped bool   // an operator's call that failed may have discarded it
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), began: time.Now()} //nolint:gosec // tests need reproducible numbers
	w.draw()
	w.log = memory.NewLog("posts", int(w.set.partitions))
	w.out, w.dlq = sinkmemory.New(), sinkmemory.New()
	w.out.SetFault(w.write)
	w.dlq.SetFault(w.writeLetter)
	if w.set.diverts {
		w.store = spillmemory.New()
		w.store.SetFault(w.storeFault)
	}
	for p := range w.set.partitions {
		w.parts = append(w.parts, w.newPart(p))
	}
	return w
}

// one returns a random element.
func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (w *world) draw() {
	r := w.r
	s := &w.set
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	*s = settings{
		how: one(r, "handler", "handler", "batch", "sink"), partitions: int32(1 + r.IntN(3)), two: r.IntN(4) == 0, diverts: r.IntN(8) > 0,
		mixed: r.IntN(4) == 0, service: ms(1 + r.IntN(6)),
		failing: one(r, 0, 3, 10, 25), poisoned: one(r, 0, 0, 2, 6), stubborn: one(r, 0, 0, 3),
		commitFaults: one(r, 0, 0, 5, 20), storeFaults: one(r, 0, 0, 5, 15), sinkFaults: one(r, 0, 5, 15), refused: one(r, 0, 0, 0, 2),
		attempts: r.IntN(4), calm: ms(one(r, 30, 100, 400)), load: ms(300 + r.IntN(2500)), keep: r.IntN(6) == 0,
		limits: pipeline.Limits{
			Workers: 1 + r.IntN(8), InFlight: one(r, 20, 100, 1000), KeyShare: one(r, 4, 8, 20, 60), MaxReplay: one(r, 40, 200, 100_000),
			MaxBatch: 1 + r.IntN(8), MaxBatchBytes: one(r, 0, 1, 100), FetchMessages: one(r, 1, 5, 20, 64), FetchBytes: one(r, 0, 0, 200),
			DivertBytes: one[int64](r, 0, 0, 0, 0, 0, 300, 2000), Writers: 1 + r.IntN(4),
		},
		timing: pipeline.Timing{
			CommitInterval: ms(one(r, 10, 50, 200)), CommitTimeout: ms(one(r, 50, 1000)), DrainTimeout: ms(one(r, 1, 20, 500)),
			StuckAfter: ms(one(r, 50, 1000)), CloseTimeout: ms(one(r, 100, 2000)),
		},
		commitLimit: one(r, 0, 0, 0, 40, 120), leaveTimeout: ms(one(r, 0, 0, 50, 1000)), late: one(r, 0, 0, 20, 80),
	}
	policies := [][]choice{
		{chooseHold},
		{chooseHold},
		{chooseBlock},
		{chooseHold, chooseBlockFor},
		{chooseBlockFor},
		{chooseSkip, chooseLetter},
		{chooseLetter},
		{chooseHold, chooseHold, chooseBlock, chooseSkip, chooseLetter, chooseBlockFor},
		{chooseHold, chooseStop},
	}
	if s.pinned = r.IntN(8) == 0; s.pinned {
		s.commitLimit, s.limits.MaxReplay, s.limits.InFlight = one(r, 25, 40, 60), 100_000, 1000
	}
	s.keep = s.keep && s.limits.DivertBytes == 0
	s.unstorable = []int{0, 0, 2, 10}[w.roll(4, aboutStorable)] // no draw: those of older seeds stay as they were
	some := one(r, policies...)
	for range maxKeys {
		s.policies = append(s.policies, one(r, some...))
	}
	for i := range s.policies {
		if s.pinned && i > 0 {
			s.policies[i] = chooseBlock
		}
	}
}

const maxKeys = 60

// newPart draws the messages of a partition.
func (w *world) newPart(number int32) *part {
	r := w.r
	p := &part{number: number, at: map[int64]*fact{}, epochs: map[int64]*tenure{}, drops: map[string]int{}}
	keys, hot := 1+r.IntN(one(r, 3, 8, 40)), r.IntN(100)
	odd := map[kind]int{several: r.IntN(2) * r.IntN(6), barrier: r.IntN(2) * r.IntN(3), unordered: r.IntN(2) * r.IntN(20), unkeyed: r.IntN(2) * r.IntN(3)}
	if w.set.keep { // nothing may wait for a held key
		odd[several], odd[barrier] = 0, 0
	}
	key := func() string {
		if r.IntN(100) < hot {
			return "k0"
		}
		return fmt.Sprintf("k%d", r.IntN(keys))
	}
	offset, gaps, big := int64(r.IntN(5)), one(r, 0, 0, 4), one(r, 1, 20, 60)
	for range 20 + r.IntN(150) {
		f := &fact{place: place{number, offset}, outs: one(r, 0, 1, 1, 1, 2), lanes: []string{key()}}
		x := r.IntN(100)
		for _, k := range []kind{several, barrier, unordered, unkeyed} {
			if x -= odd[k]; x < 0 {
				f.kind = k
				break
			}
		}
		switch f.kind {
		case several:
			f.lanes = append(f.lanes, key(), key())
			slices.Sort(f.lanes)
			if f.lanes = slices.Compact(f.lanes); len(f.lanes) == 1 {
				f.kind = plain
			}
		case barrier, unordered, unkeyed:
			f.lanes = nil
		case plain:
		}
		if r.IntN(100) < w.set.poisoned {
			f.poison = one(r, 2, 5, 20, 1000)
		}
		if w.set.pinned && f.kind == plain && f.lanes[0] != "k0" && r.IntN(4) == 0 {
			f.poison = 1000
		}
		if w.set.how == "sink" && r.IntN(100) < w.set.refused {
			f.refusal = one(r, 1, 3, 1000)
		}
		w.add(p, f, r.IntN(big))
		offset += 1 + int64(r.IntN(gaps+1))
	}
	p.load = len(p.facts)
	for k := range min(keys, 3) {
		w.add(p, &fact{place: place{number, offset + int64(k)}, lanes: []string{fmt.Sprintf("k%d", k)}, outs: 1}, 1)
	}
	return p
}

// add adds a message with a value of the given size.
func (w *world) add(p *part, f *fact, size int) {
	for _, l := range f.lanes {
		var n int
		_, _ = fmt.Sscanf(l, "k%d", &n)
		f.mask |= 1 << n
	}
	if f.kind == barrier {
		f.mask = everyLane
	}
	if f.kind != unordered && len(f.lanes) > 0 {
		f.msg.Key = []byte(f.lanes[0])
	}
	f.msg.Value = fmt.Appendf(nil, "%d@%d%*s", f.partition, f.place.at, size, "")
	f.msg.Headers = []keystrand.Header{{Key: "at", Value: f.msg.Value[:3]}}
	f.msg.Time = w.began.UTC().Add(time.Duration(f.place.at))
	p.facts = append(p.facts, f)
	p.at[f.place.at] = f
}

const everyLane = 1<<62 - 1

// conflict reports whether two messages have an order.
func (f *fact) conflict(g *fact) bool {
	return f.mask&g.mask != 0 || f.kind == barrier || g.kind == barrier
}

func (f *fact) String() string {
	return fmt.Sprintf("%d@%d %v%v", f.partition, f.place.at, [...]string{"", "several ", "barrier", "unordered", "unkeyed"}[f.kind], f.lanes)
}

// key is the function of Builder.Key.
func (w *world) key(m *keystrand.Message) (keystrand.Key, error) {
	f := w.parts[m.Partition].at[m.Offset] // constant
	switch f.kind {
	case barrier:
		return keystrand.Barrier(), nil
	case unordered:
		return keystrand.Key{}, nil
	case unkeyed:
		return keystrand.Key{}, errBoom
	case plain, several:
	}
	return keystrand.KeysOf(f.lanes...), nil
}

// roll returns a choice below n that depends on the seed and on what it is about only, not on the order of goroutines.
func (w *world) roll(n int, about ...int64) int {
	x := w.seed
	for _, a := range about {
		x = (x ^ uint64(a)) + 0x9e3779b97f4a7c15 //nolint:gosec // any number will do
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return int(x % uint64(n)) //nolint:gosec // below n
}

// What a choice is about.
const (
	aboutFailure int64 = iota
	aboutKind
	aboutTime
	aboutStubborn
	aboutPolicy
	aboutWrite
	aboutLetter
	aboutCommit
	aboutStore
	aboutKey
	aboutPark
	aboutLeave
	aboutStorable
)

// broken reports a broken promise.
func (w *world) broken(format string, args ...any) {
	if w.complaint++; w.complaint <= 5 {
		w.t.Errorf("%v: "+format, append([]any{time.Since(w.began)}, args...)...)
		w.lines = append(w.lines, fmt.Sprintf("%v BROKEN: "+format, append([]any{time.Since(w.began)}, args...)...))
	}
}

// note adds a line to the story. w.mu is held.
func (w *world) note(format string, args ...any) {
	if *story {
		w.lines = append(w.lines, fmt.Sprintf("%v ", time.Since(w.began))+fmt.Sprintf(format, args...))
	}
}
