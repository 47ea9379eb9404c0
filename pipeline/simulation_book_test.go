package pipeline_test

import (
	"bytes"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// tenure is one ownership of a partition.
type tenure struct {
	mb       *member
	restored *commit.Progress
	last     [64]int64 // by lane: end of what was handled
	lost     time.Time // when the owner was told to leave, or lost it without knowing; zero if it owns it
}

// accepted implements oracle.
func (mb *member) accepted(id source.ID, restored *commit.Progress) {
	w := mb.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count(tEpochs)
	p := w.parts[id.Partition]
	if old := p.epochs[p.latest]; old != nil && old.lost.IsZero() {
		old.lost = time.Now()
	}
	p.latest = id.Epoch
	if w.store == nil {
		p.epoch = id.Epoch // from now on, effects of earlier owners are refused
	}
	p.epochs[id.Epoch] = &tenure{mb: mb, restored: restored}
	w.note("ACCEPT %v by member %d: frontier %d, ahead %v", id, mb.id, restored.Frontier, restored.Ahead)
	w.syncLocked(p)
	w.checkProgressLocked("restored", p, restored)
}

// committed implements oracle. See stored.
func (mb *member) committed(source.ID, *commit.Progress) {}

// stored checks I3 for a commit that the source has stored.
func (mb *member) stored(id source.ID, c *commit.Progress) {
	w := mb.w
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parts[id.Partition]
	w.note("commit %v: frontier %d, ahead %v", id, c.Frontier, c.Ahead)
	w.syncLocked(p)
	w.checkProgressLocked("committed", p, c)
}

func (w *world) checkProgressLocked(what string, p *part, c *commit.Progress) {
	for _, f := range p.facts[:p.added] {
		if c.Settled(f.place.at) && f.settled == 0 && !f.logged {
			w.broken("I3: %v is %s as settled, but was neither handled nor is it in the store", f, what)
		}
	}
}

// call is one call of a handler.
type call struct {
	mb     *member
	p      *part
	epoch  int64
	facts  []*fact
	number int // calls of the first message so far
}

// begin checks I1, I2 and I7 at the start of a call.
func (w *world) begin(mb *member, ms []*keystrand.Message) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &call{mb: mb, p: w.parts[ms[0].Partition], epoch: ms[0].Epoch}
	for _, m := range ms {
		f := c.p.at[m.Offset]
		if f == nil || m.Epoch != c.epoch || m.Partition != c.p.number {
			w.broken("a handler gets %d@%d of epoch %d, which does not exist", m.Partition, m.Offset, m.Epoch)
			continue
		}
		if !bytes.Equal(m.Key, f.msg.Key) || !bytes.Equal(m.Value, f.msg.Value) || len(m.Headers) != 1 || !m.Time.Equal(f.msg.Time) {
			w.broken("%v has changed: %+v", f, m)
		}
		if f.calls++; f.calls == tooOften {
			w.broken("I4: %v was handled %d times", f, f.calls)
		}
		c.facts = append(c.facts, f)
	}
	c.number = c.facts[0].calls
	w.note("e%d begin %v call %d", c.epoch, c.facts, c.number)
	for _, other := range mb.calls {
		for _, f := range other.facts {
			if other.p == c.p && f.conflict(c.facts[0]) {
				w.broken("I2: member %d, epoch %d: %v runs at the same time as %v of epoch %d", mb.id, c.epoch, c.facts[0], f, other.epoch)
			}
		}
	}
	mb.calls = append(mb.calls, c)
	if mb.released(c.p.number, c.epoch) {
		w.broken("I7: epoch %d: %v starts after the release of the partition", c.epoch, c.facts[0])
	}
	if w.fenced(c.p, c.epoch) {
		return c
	}
	t := c.p.epochs[c.epoch]
	for i, f := range c.facts {
		for bit, end := range t.last {
			if (f.mask|1<<63)>>bit&1 == 1 && f.place.at < end && bit < 62 {
				w.broken("I1: epoch %d handles %v after %d of the same key", c.epoch, f, end-1)
				break
			}
		}
		if f.settled > 0 && f.by == c.epoch && w.set.how != "sink" {
			w.broken("I4: epoch %d handles %v again", c.epoch, f)
		}
		if t.restored.Settled(f.place.at) && !f.logged {
			w.broken("I4: epoch %d handles %v, which was committed as settled and is not in the store", c.epoch, f)
		}
		if i == 0 && w.set.how != "sink" {
			w.checkBeforeLocked(f, c.epoch, "starts")
		}
	}
	return c
}

// checkBeforeLocked checks that everything that f has to wait for is settled.
func (w *world) checkBeforeLocked(f *fact, epoch int64, does string) {
	for _, g := range w.parts[f.partition].facts {
		if g.place.at >= f.place.at {
			return
		}
		if g.settled == 0 && g.conflict(f) {
			w.broken("I1: epoch %d: %v %s before %v is settled", epoch, f, does, g)
			return
		}
	}
}

// fenced reports whether effects of an ownership are refused: there is a later one, or its process is dead.
func (w *world) fenced(p *part, epoch int64) bool {
	return epoch != p.epoch || p.epochs[epoch].mb.dead
}

// handled records that the first n messages of a call were handled. It reports whether their effects count.
func (w *world) handled(c *call, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced(c.p, c.epoch) {
		w.count(tFenced)
		w.note("e%d fenced %v", c.epoch, c.facts[:n])
		return false
	}
	t := c.p.epochs[c.epoch]
	for _, f := range c.facts[:n] {
		for bit := range t.last {
			if f.mask>>bit&1 == 1 {
				t.last[bit] = f.place.at + 1
			}
		}
		if w.set.how != "sink" {
			w.effects++
			f.effect = w.effects
		}
		if w.set.how != "sink" || f.outs == 0 {
			w.settleLocked(f, c.epoch, "handled")
			w.count(tHandled)
		}
	}
	return true
}

// settleLocked records that a message is settled.
func (w *world) settleLocked(f *fact, epoch int64, how string) {
	if f.settled++; f.settled > 1 {
		w.count(tReplayed)
	}
	f.when, f.by, f.fromLog = time.Now(), epoch, f.logged
	if f.logged {
		w.count(tFromLog)
	}
	w.note("e%d %s %v", epoch, how, f)
}

// end ends a call.
func (w *world) end(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range c.mb.calls {
		if other == c {
			c.mb.calls = append(c.mb.calls[:i], c.mb.calls[i+1:]...)
			break
		}
	}
}

// syncLocked compares the store with what it had before. A record may leave it only once it is settled.
func (w *world) syncLocked(p *part) {
	if w.store == nil {
		return
	}
	now := map[int64]string{}
	for _, s := range w.store.Strands("posts", p.number) {
		if s.Held && s.Reason == "" {
			w.broken("%d: the key %q is held without a reason", p.number, s.Key)
		}
		for _, o := range w.store.Offsets("posts", p.number, s.Key) {
			if key, twice := now[o]; twice {
				w.broken("I4: %d@%d is in the store for the keys %q and %q", p.number, o, key, s.Key)
			}
			now[o] = s.Key
		}
	}
	for _, f := range p.facts[:p.added] {
		key, logged := now[f.place.at]
		if logged && (f.kind == several || f.kind == barrier || f.kind == plain && key != f.lanes[0]) {
			w.broken("I1: %v is in the store for the key %q", f, key)
		}
		if logged {
			f.key = key
		}
		switch {
		case logged && !f.logged:
			w.count(tAppended)
			w.note("logged %v", f)
		case f.logged && !logged:
			w.goneLocked(p, f)
		}
		f.logged = logged
	}
}

// goneLocked checks a record that has left the store.
func (w *world) goneLocked(p *part, f *fact) {
	dropped := p.drops[f.key] > 0 || f.dropped
	switch {
	case dropped && (f.settled == 0 || f.by != p.epoch):
		w.count(tDiscarded)
		f.effect = 0
		w.settleLocked(f, p.epoch, "discarded")
	case f.settled == 0:
		w.broken("I3: %v was removed from the store, but not handled", f)
	default:
		w.note("removed %v", f)
	}
}
