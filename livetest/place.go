package livetest

import (
	"cmp"
	"slices"
	"sort"

	"github.com/keystrand/keystrand/commit"
)

// place is a partition, its messages and its owners.
type place struct {
	name      Place
	messages  []message     // by offset
	at        map[int64]int // offset → index
	owners    map[int64]*owner
	newest    *owner
	tries     []*try // of all owners
	stored    *try   // the newest one known to be stored
	running   map[string][]turn
	confirmed int64 // when the last commit was stored
}

// message is a [Message] and what happened to it.
type message struct {
	Message
	before  int        // index of the key's earlier message; -1: none
	settled bool       // by any owner
	last    int        // number of the event that settled it last, by the newest owner
	acked   int64      // when a commit that claims it was stored; 0: not since it was last delivered
	forgot  *Allowance // permits the service to forget that; nil: it must not
}

// owner is one ownership of a place.
type owner struct {
	id      ownerID
	place   *place
	member  string
	views   []view       // of the messages
	open    map[int]bool // turns under way
	spare   int          // with Withholds: so many messages may be delivered again, whichever they are
	endings int          // of nodes, before it began

	restored, try, stored *try // what it began with; its last commit; the last one known to be stored

	outstanding int  // messages settled by any owner and not covered here
	count       int  // messages this owner has settled
	late        int  // messages that an older owner has settled since this one began
	largest     int  // messages in its largest Write
	checked     int  // index of the first message at or above the highest frontier tried
	startedLate int  // turns that started after a cancelled one
	frozen      bool // its process was stopped while it owned the place
	lost        bool
	released    bool
	cancelled   int64 // when the first cancelled handler returned; 0: none
}

// view is what an owner knows of a message.
type view struct {
	covered bool // restored as settled, or settled by this owner
	tried   bool // its handler has begun
	handled bool // its handler has returned nil
	known   bool // with Withholds: settled by any owner when this one began
	may     bool // of those: the service may deliver it again
}

type ownerID struct {
	Place
	epoch int64
}

// turn is a handler under way.
type turn struct {
	owner *owner
	index int
}

// try is a commit, or a restored one.
type try struct {
	progress                 commit.Progress
	number                   int // in the order of the place
	replays                  int // settled messages that the store could not express
	outstanding, count, late int // of its owner, at that time
}

func (o *owner) tries(progress commit.Progress) *try {
	p := o.place
	t := &try{progress: progress, number: len(p.tries), outstanding: o.outstanding, count: o.count, late: o.late}
	p.tries = append(p.tries, t)
	return t
}

// passed reports whether the owner may pass over a message: it has settled it, or the service need not deliver it.
func (o *owner) passed(i int) bool { return i < 0 || o.views[i].covered || o.views[i].known }

// inOrder reports whether the owner released the place with its last commit stored.
func (o *owner) inOrder() bool { return o.released && !o.lost && !o.frozen && o.stored == o.try }

func newPlace(name Place, messages []Message) *place {
	p := &place{name: name, at: map[int64]int{}, owners: map[int64]*owner{}, running: map[string][]turn{}}
	slices.SortFunc(messages, func(a, b Message) int { return cmp.Compare(a.Offset, b.Offset) })
	last := map[string]int{}
	for i, m := range messages {
		before := -1
		if l, found := last[m.Key]; found {
			before = l
		}
		p.messages = append(p.messages, message{Message: m, before: before})
		last[m.Key], p.at[m.Offset] = i, i
	}
	return p
}

// from returns the index of the first message at or above an offset.
func (p *place) from(offset int64) int {
	return sort.Search(len(p.messages), func(i int) bool { return p.messages[i].Offset >= offset })
}

// settle records that the owner has settled a message. It reports whether the owner is an old one and the newest one will
// deliver the message again.
func (o *owner) settle(i int) (late bool) {
	m, n := &o.place.messages[i], o.place.newest
	again := m.settled
	m.settled = true
	if o.views[i].covered {
		return false
	}
	o.views[i].covered = true
	o.count++
	if again {
		o.outstanding--
	}
	if n == o || again || n.views[i].covered {
		return false
	}
	n.outstanding++
	n.late++
	return true
}
