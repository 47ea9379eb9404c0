// Virtual time: TestSimulation plays in bubbles.

package pipeline_test

import (
	"context"
	"errors"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

// event lets something happen.
func (w *world) event() {
	mb := w.members[w.r.IntN(len(w.members))]
	p := int32(w.r.IntN(int(w.set.partitions)))
	w.snapshot(mb)
	switch w.r.IntN(24) {
	case 0, 1:
		w.ends(mb, p)
		if mb.mem.Revoke("posts", p) {
			w.count(tRevoked)
		}
	case 2, 3:
		w.ends(mb, p)
		if mb.mem.Lose("posts", p) {
			w.count(tLost)
		}
	case 4, 5:
		w.crash(mb, w.r.IntN(2) == 0)
	case 6:
		if mb.told.IsZero() {
			w.told(mb, "STOP")
			mb.stopped = true
			mb.run.cancel(nil)
			w.count(tStopped)
		}
	case 7:
		if len(w.members) < 3 {
			w.join()
		}
	case 8, 9:
		w.fail(w.r.IntN(nOutages))
	case 10:
		mb.run.PausePartition("posts", p)
	case 11, 12:
		mb.run.ResumePartition("posts", p)
	case 13, 14:
		mb.run.ResumeAll("posts", p)
	case 15:
		mb.run.Resume("posts", p, "k0")
	case 16:
		_ = mb.run.SetWorkers(1 + w.r.IntN(8))
	default:
		w.operate(mb, p)
	}
	if w.store != nil && w.r.IntN(4) == 0 {
		w.hurry()
	}
}

// hurry lets operators act as soon as a partition has a new owner.
func (w *world) hurry() {
	for range 8 {
		time.Sleep(time.Duration(1+w.r.IntN(4)) * time.Millisecond)
		w.tend()
		for _, mb := range w.members {
			w.operate(mb, int32(w.r.IntN(int(w.set.partitions)))) //nolint:gosec // few
		}
	}
}

// ends notes that an ownership ends now.
func (w *world) ends(mb *member, number int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parts[number]
	if t := p.epochs[p.latest]; t != nil && t.mb == mb && t.lost.IsZero() {
		w.note("END of epoch %d of partition %d", p.latest, number)
		t.lost = time.Now()
	}
}

// endAllLocked notes that all ownerships of a member end now.
func (w *world) endAllLocked(mb *member) {
	for _, p := range w.parts {
		if t := p.epochs[p.latest]; t != nil && t.mb == mb && t.lost.IsZero() {
			t.lost = time.Now()
		}
	}
}

func (w *world) told(mb *member, what string) {
	for p := range w.set.partitions {
		w.ends(mb, p)
	}
	mb.told = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("%s member %d", what, mb.id)
}

// crash ends a member at once. If it is dead, nothing that it does from now on has an effect. Otherwise its handlers and
// its calls of the store go on for a while.
func (w *world) crash(mb *member, dead bool) {
	if mb.crashed {
		return
	}
	w.told(mb, "CRASH")
	w.mu.Lock()
	mb.dead = dead
	w.mu.Unlock()
	mb.crashed = true
	mb.mem.Crash()
	w.count(tCrashed)
}

// fail makes a service fail for a while.
func (w *world) fail(service int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outage[service] = outage{time.Now().Add(time.Duration(w.r.IntN(400)) * time.Millisecond), w.r.IntN(2) == 0}
	w.troubleLocked(w.outage[service].until)
	w.note("OUTAGE of %d: %+v", service, w.outage[service])
}

// operate lets an operator act on a held key.
func (w *world) operate(mb *member, number int32) {
	if w.store == nil {
		return
	}
	p := w.parts[number]
	for _, s := range w.store.Strands("posts", number) {
		if !s.Held || w.r.IntN(2) == 0 {
			continue
		}
		what := w.r.IntN(8)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(1+w.r.IntN(300))*time.Millisecond)
		w.bg.Go(func() {
			defer cancel()
			w.act(ctx, mb, p, s.Key, what)
		})
	}
}

// act resumes, skips or drops.
func (w *world) act(ctx context.Context, mb *member, p *part, key string, what int) {
	lane := keystrand.Lane(key).String()
	if what > 1 {
		_, err := mb.run.ResumeHeld(ctx, "posts", p.number, lane, "the simulation")
		w.acted("resumed", p, key, err)
		return
	}
	w.dropping(p, key, 1)
	var err error
	if what == 0 {
		_, err = mb.run.SkipHeld(ctx, "posts", p.number, lane, "the simulation")
	} else {
		_, err = mb.run.DropHeld(ctx, "posts", p.number, lane, "the simulation")
	}
	w.dropping(p, key, -1)
	if err != nil && !errors.Is(err, pipeline.ErrNotHeld) && !errors.Is(err, pipeline.ErrNotOwned) && !errors.Is(err, pipeline.ErrNotStored) {
		w.mayDrop(p, key)
	}
	w.acted("discarded", p, key, err)
}

// dropping counts calls under way that may discard records of a key.
func (w *world) dropping(p *part, key string, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.syncLocked(p)
	p.drops[key] += by
}

// mayDrop notes that a call that has failed may discard the records of a key all the same.
func (w *world) mayDrop(p *part, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range p.facts {
		if f.logged && f.key == key {
			f.dropped = true
		}
	}
}

func (w *world) acted(what string, p *part, key string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("operator %s %q of partition %d: %v", what, key, p.number, err)
}

// snapshot checks I9.
func (w *world) snapshot(mb *member) {
	s := mb.run.Snapshot()
	conserve(w.t, s)
	for _, p := range s.Partitions {
		w.conserveDiverted(p.ID.String(), p.Diverting)
	}
	w.conserveDiverted("the sum", s.Diverting)
}

func (w *world) conserveDiverted(of string, d pipeline.DivertSnapshot) {
	if d.Restored+d.Appended != d.Drained+d.Discarded+d.Records || d.Records < 0 || d.Strands < d.Held {
		w.t.Errorf("I9: %s: restored %d + appended %d != drained %d + discarded %d + records %d (strands %d, held %d)",
			of, d.Restored, d.Appended, d.Drained, d.Discarded, d.Records, d.Strands, d.Held)
	}
}
