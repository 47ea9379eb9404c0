package livetest

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// place is a partition and its owners.
type place struct {
	name     Place
	messages []Message     // by offset
	at       map[int64]int // offset → index
	before   []int         // index of the key's message before, -1 if it is the first
	settled  []bool        // by anybody
	last     []int         // the event that settled it last, by who owned the place then
	acked    []int64       // when a commit that claims it was stored; 0: not yet, or it came again since
	forgot   []bool        // the service may have forgotten that when it ended

	owners    map[int64]*owner // by epoch
	newest    *owner
	tries     []*try             // of all owners; what was restored counts as one
	stored    *try               // the last one known to be stored
	running   map[string][]*turn // by key
	confirmed int64              // when the last commit was stored

	lastStart int64 // time
	lastEpoch int64
}

// owner is one ownership of a place.
type owner struct {
	id     ownerID
	place  *place
	member string

	covered []bool // restored as settled, or settled by this owner
	tried   []bool // its handler has begun
	handled []bool // with Outputs: its handler has returned, its output need not be durable
	known   []bool // with Withholds: settled by anybody when it began
	may     []bool // with Withholds: of those, what may come again
	spare   int    // with Withholds: so many more may, whichever
	spent   int    // of them: so many have
	open    map[int]*turn

	restored    *try // what it began with
	try         *try // the commit under way, or the last one
	stored      *try // the last one known to be stored, or restored
	outstanding int  // settled by somebody, not covered here: they are handled again
	count       int  // messages this owner has settled
	largest     int  // messages that its largest Write had, so far
	late        int  // messages an older owner has settled meanwhile: this one hands them out, and need not know
	checked     int  // index of the first message at or above the highest frontier tried
	frozen      bool // its process was stopped while it owned the place
	endings     int  // of nodes of the service, that were over when it began
	lost        bool
	released    bool
	cancelled   int64 // when a handler was seen to have been told to end, by its process's clock; 0: none was
	startedLate int   // turns that started after that
}

// try is a commit that was tried, or what was restored.
type try struct {
	number      int // in the order of the place
	progress    Progress
	replays     int // what the store said it could not express
	outstanding int // of its owner, at that time
	count, late int // likewise
}

// tries notes a try of the owner.
func (o *owner) tries(progress Progress) *try {
	p := o.place
	t := &try{number: len(p.tries), progress: progress, outstanding: o.outstanding, count: o.count, late: o.late}
	p.tries = append(p.tries, t)
	return t
}

func newPlace(name Place) *place {
	return &place{name: name, at: map[int64]int{}, owners: map[int64]*owner{}, running: map[string][]*turn{}}
}

func (p *place) add(m Message) { p.messages = append(p.messages, m) }

// index sorts what was produced.
func (p *place) index() {
	slices.SortFunc(p.messages, func(a, b Message) int { return cmp.Compare(a.Offset, b.Offset) })
	p.before = make([]int, len(p.messages))
	p.settled = make([]bool, len(p.messages))
	p.last = make([]int, len(p.messages))
	p.acked = make([]int64, len(p.messages))
	p.forgot = make([]bool, len(p.messages))
	last := map[string]int{}
	for i, m := range p.messages {
		p.at[m.Offset] = i
		p.before[i] = -1
		if l, found := last[m.Key]; found {
			p.before[i] = l
		}
		last[m.Key] = i
	}
}

// from returns the index of the first message at or above an offset.
func (p *place) from(offset int64) int {
	return sort.Search(len(p.messages), func(i int) bool { return p.messages[i].Offset >= offset })
}

// settle notes that the owner has settled a message. late: it was the result of an old owner, and the new one will hand
// the message out again.
func (o *owner) settle(i int) (late bool) {
	p := o.place
	again := p.settled[i]
	p.settled[i] = true
	if o.covered[i] {
		return false
	}
	o.covered[i] = true
	o.count++
	if again {
		o.outstanding--
	}
	n := p.newest
	if n == o || again || n.covered[i] {
		return false
	}
	n.outstanding++
	n.late++
	return true
}

// notePause measures how long a place stood still because it changed hands.
func (p *place) notePause(o *owner, now int64, f *Figures) {
	if p.lastStart != 0 && p.lastEpoch != o.id.epoch {
		f.Pause = max(f.Pause, time.Duration(now-p.lastStart))
	}
	p.lastStart, p.lastEpoch = now, o.id.epoch
}

// within tells whether every range of inner is in one of outer.
func within(inner, outer []Range) bool {
	for _, r := range inner {
		i := sort.Search(len(outer), func(i int) bool { return outer[i].To > r.From })
		if i == len(outer) || outer[i].From > r.From || outer[i].To < r.To {
			return false
		}
	}
	return true
}
