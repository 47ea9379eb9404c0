package livetest

import (
	"cmp"
	"slices"
	"sort"

	"github.com/keystrand/keystrand/commit"
)

// place is a partition, its messages and its owners.
type place struct {
	Place
	messages  []message // by offset
	owners    map[int64]*owner
	newest    *owner
	acting    *owner             // the newest one for whom the store is open, if there is a store
	strands   map[string]*strand // of the store, by key
	frontier  int64              // the highest one known to be stored
	tries     []commit.Progress  // of all owners; the first is that of nobody
	confirmed int64              // when the last commit was stored
}

// message is a [Message] and what happened to it.
type message struct {
	Message
	before    int   // index of the key's earlier message; -1: none
	settled   bool  // by any owner
	last      int   // number of the event that settled it last, by the newest owner
	acked     int64 // when a commit that claims it was stored, or a mark if it is kept; 0: not since it was last delivered
	forgot    bool  // the service may forget that
	kept      bool  // the store of diverted keys has it
	committed int64 // as acked, but for a commit
}

// owner is one ownership of a place.
type owner struct {
	*place
	epoch  int64
	member *member
	views  []view // of the messages

	accepted    try
	try, stored *try // its last commit, and the last one known to be stored
	spare       int  // so many messages may be delivered again, whichever they are
	endings     int  // of nodes, before it began
	largest     int  // messages in its largest Write
	startedLate int  // turns that started after a cancelled one
	frozen      bool // its process was stopped while it owned the place
	evicted     bool // it loses the place, now or later
	lost        bool
	released    bool
	cancelled   int64 // when the first cancelled handler returned; 0: none

	opened   int                 // number of the event at which the store was open for it; 0: not yet
	restored map[string]restored // what the store had then
	storing  map[int]int         // of each call of the store: the number of its event
	saves    []int               // of the calls with marks that are durable: these numbers
	unsaved  int                 // marks that were tried and are not durable
}

// view is what an owner knows of a message.
type view struct {
	covered bool // restored as settled, or settled by this owner
	claimed bool // covered, or in the store: a commit may claim it
	tried   bool // its handler has begun
	handled bool // its handler has returned nil
	known   bool // settled by any owner when this one began
	may     bool // of those: the service may deliver it again
}

// turn is a handler under way.
type turn struct {
	*owner
	index int
}

// try is a commit, or the progress that an owner began with.
type try struct {
	commit.Progress
	number  int // of its event
	replays int // settled messages that the store could not express
}

func newPlace(name Place, messages []Message) *place {
	p := &place{Place: name, owners: map[int64]*owner{}, strands: map[string]*strand{}, tries: make([]commit.Progress, 1)}
	slices.SortFunc(messages, func(a, b Message) int { return cmp.Compare(a.Offset, b.Offset) })
	last := map[string]int{} // of each key: the index of its last message so far, plus 1
	for i, m := range messages {
		p.messages = append(p.messages, message{Message: m, before: last[m.Key] - 1})
		last[m.Key] = i + 1
	}
	return p
}

// from returns the index of the first message at or above an offset.
func (p *place) from(offset int64) int {
	return sort.Search(len(p.messages), func(i int) bool { return p.messages[i].Offset >= offset })
}

// tried reports whether progress is that of one try. A store may have cut ranges.
func (p *place) tried(progress commit.Progress) bool {
	return slices.ContainsFunc(p.tries, func(t commit.Progress) bool {
		return t.Frontier == progress.Frontier && !slices.ContainsFunc(progress.Ahead, func(r commit.Range) bool {
			return !slices.ContainsFunc(t.Ahead, func(all commit.Range) bool { return all.From <= r.From && r.To <= all.To })
		})
	})
}

// current reports whether the owner is the newest one, and if not, whether it could not know: it was frozen, or the
// service disconnected it.
func (o *owner) current() (current, excused bool) {
	return o.newest == o, o.frozen || o.evicted
}

// inOrder reports whether the owner released the place with its last commit stored.
func (o *owner) inOrder() bool { return o.released && !o.lost && !o.frozen && o.stored == o.try }

// settle records that the owner has settled a message.
func (o *owner) settle(i, event int) {
	m := &o.messages[i]
	m.settled, o.views[i].covered, o.views[i].claimed = true, true, true
	if o.acting == o {
		m.last = event
	}
}
