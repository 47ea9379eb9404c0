// Virtual time: TestSimulation plays in bubbles.

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// member is one process.
type member struct {
	w   *world
	id  int
	mem *memory.Source
	spy *spy
	run *running

	crashed, stopped bool // used by play
	told             time.Time

	calls []*call // under way; guarded by world.mu
	dead  bool    // nothing that it does has an effect; guarded by world.mu
}

// join starts a member.
func (w *world) join() {
	mb := &member{w: w, id: len(w.members)}
	s := &w.set
	mb.mem = memory.NewSource(memory.Config{
		CommitLimit: s.commitLimit, LeaveTimeout: s.leaveTimeout, Moves: true, BeforeCommit: mb.beforeCommit, AfterCommit: mb.afterCommit,
	}, w.log)
	mb.spy = watch(w.t, lateSource{mb.mem, mb}, nil)
	mb.spy.oracle = mb
	b := pipeline.From(mb.spy).Key(w.key).OnFailure(w.decide).Limits(s.limits).Timing(s.timing)
	if s.attempts > 0 {
		b.Use(middleware.Retry(middleware.RetryPolicy{MaxAttempts: s.attempts, Initial: 3 * time.Millisecond, MaxDelay: 20 * time.Millisecond, DisableJitter: true}))
	}
	switch s.how {
	case "handler":
		b.Handle(mb)
	case "batch":
		b.HandleBatch(mb)
	default:
		b.Transform(mb).To(w.out)
	}
	if s.diverts {
		b.Divert(w.store)
	}
	w.mu.Lock()
	w.note("JOIN member %d", mb.id)
	w.mu.Unlock()
	mb.run = start(w.t, b)
	w.members = append(w.members, mb)
}

// released reports whether the member released an ownership before this moment.
func (mb *member) released(partition int32, epoch int64) bool {
	for _, p := range mb.spy.epochs(partition) {
		if p.ID().Epoch == epoch {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.released && p.releasedAt.Before(time.Now()) // a turn may have begun at the same moment
		}
	}
	return false
}

// lateSource hears late that a partition is lost, as a process that was paused.
type lateSource struct {
	*memory.Source
	mb *member
}

type latePartition struct {
	source.Partition
	leaving chan source.Leave
	stop    context.CancelFunc
	hearing sync.WaitGroup
}

func (s lateSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil || s.mb.w.set.late == 0 {
		return p, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &latePartition{Partition: p, leaving: make(chan source.Leave, 2), stop: stop}
	l.hearing.Go(func() {
		for {
			select {
			case v := <-p.Leaving():
				if wait(ctx, time.Duration(s.mb.w.roll(s.mb.w.set.late, aboutLeave, p.ID().Epoch))*time.Millisecond) != nil {
					return
				}
				l.leaving <- v
			case <-ctx.Done():
				return
			}
		}
	})
	return l, nil
}

func (l *latePartition) Leaving() <-chan source.Leave { return l.leaving }

func (l *latePartition) Release(ctx context.Context) error {
	l.stop()
	l.hearing.Wait()
	return l.Partition.Release(ctx)
}

func (l *latePartition) End() (int64, bool) {
	if x, ok := l.Partition.(source.Lagger); ok {
		return x.End()
	}
	return 0, false
}

// play plays the seed.
func (w *world) play() {
	defer w.tell()
	w.join()
	if w.set.two {
		w.join()
	}
	w.load()
	w.heal()
	w.drain()
	if w.t.Failed() {
		return
	}
	w.after()
	for _, mb := range slices.Clone(w.members) {
		w.stop(mb)
	}
	w.check()
}

func (w *world) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t.Failed() {
		w.t.Logf("replay: "+replay+"; %+v", w.seed, w.set)
		if *story {
			w.t.Log("\n" + strings.Join(w.lines, "\n"))
		}
	}
}

// load appends all messages and lets things happen meanwhile.
func (w *world) load() {
	end := w.began.Add(w.set.load)
	for time.Now().Before(end) && !w.t.Failed() {
		time.Sleep(time.Duration(w.r.IntN(int(w.set.calm)/int(time.Millisecond))) * time.Millisecond)
		gone := min(1, float64(time.Since(w.began))/float64(w.set.load))
		for _, p := range w.parts {
			if n := int(gone * float64(p.load)); n > p.added && w.r.IntN(3) > 0 {
				w.append(p, n)
			}
		}
		w.tend()
		w.event()
	}
	for _, p := range w.parts {
		w.append(p, p.load)
	}
}

func (w *world) append(p *part, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range p.facts[p.added:n] {
		w.log.AppendAt(p.number, f.place.at, f.msg)
	}
	p.added = n
}

// tend replaces members that have ended.
func (w *world) tend() {
	for _, mb := range slices.Clone(w.members) {
		select {
		case <-mb.run.over:
			w.ended(mb)
		default:
		}
	}
	if !slices.ContainsFunc(w.members, func(mb *member) bool { return !mb.crashed && !mb.stopped }) {
		w.join()
	}
}

// ended checks how Run of a member ended.
func (w *world) ended(mb *member) {
	err := mb.run.wait()
	w.members = slices.DeleteFunc(w.members, func(o *member) bool { return o == mb })
	_, failed := errors.AsType[*pipeline.FailureError](err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("member %d ended: %v", mb.id, err)
	switch {
	case err == nil && mb.stopped, mb.crashed && errors.Is(err, memory.ErrCrashed), mb.dead, failed && w.mayStop():
	default:
		w.broken("Run of member %d returned %v", mb.id, err)
	}
	if len(mb.calls) > 0 {
		w.broken("I10: Run of member %d returned while handlers run", mb.id)
	}
	if s := mb.run.Snapshot(); s.InFlight != 0 || s.InFlightBytes != 0 {
		w.broken("I9: in flight after Run of member %d: %d messages, %d bytes", mb.id, s.InFlight, s.InFlightBytes)
	}
}

// mayStop reports whether the policy Stop, or one that acts as Stop, may act.
func (w *world) mayStop() bool {
	return slices.Contains(w.set.policies, chooseStop) || w.set.how == "sink" && w.set.refused > 0
}

// stop stops a member and waits for it.
func (w *world) stop(mb *member) {
	mb.stopped = true
	w.count(tStopped)
	began := time.Now()
	mb.run.cancel(nil)
	_ = mb.run.wait()
	if d, most := time.Since(began), w.set.timing.DrainTimeout+w.set.timing.CommitTimeout+w.set.timing.CloseTimeout+20*40*w.set.service+10*time.Second; d > most {
		w.t.Errorf("I10: Run returned %v after its ctx ended", d)
	}
	w.ended(mb)
}

// heal ends all faults and lets every key go on. What the store has refused waits for a restart.
func (w *world) heal() {
	w.mu.Lock()
	w.healed = true
	w.note("HEALED")
	w.mu.Unlock()
	w.bg.Wait()
	if w.set.unstorable == 0 {
		return
	}
	for _, mb := range slices.Clone(w.members) {
		w.stop(mb)
	}
	w.mu.Lock()
	w.troubled = time.Now()
	w.mu.Unlock()
	w.join()
}

// drain waits until everything is settled and no key is diverted.
func (w *world) drain() {
	pause := 50 * time.Millisecond
	for end := time.Now().Add(5 * time.Minute); ; pause = min(pause*3/2, 5*time.Second) {
		time.Sleep(pause)
		w.tend()
		for _, mb := range w.members {
			for p := range w.set.partitions {
				mb.run.ResumePartition("posts", p)
				mb.run.ResumeAll("posts", p)
				w.resumeHeld(mb, p)
			}
		}
		why := w.unfinished()
		if why == "" || w.t.Failed() {
			return
		}
		if time.Now().After(end) {
			w.t.Errorf("stuck: %s", why)
			for _, mb := range w.members {
				w.t.Logf("member %d: %+v", mb.id, mb.run.Snapshot())
			}
			return
		}
	}
}

// unfinished says what is left to do.
func (w *world) unfinished() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		w.syncLocked(p)
		for _, f := range p.facts[:p.added] {
			if f.settled == 0 && !w.kept(f) {
				return fmt.Sprintf("%v is not settled", f)
			}
		}
		_, end := w.log.Bounds(p.number)
		if c := w.log.Group("").Committed(p.number); c == nil || c.Frontier < end {
			return fmt.Sprintf("partition %d: committed is %+v, the end is %d", p.number, c, end)
		}
		if w.store == nil {
			continue
		}
		for _, s := range w.store.Strands("posts", p.number) {
			if !w.set.keep || !w.isHeld(p.number, s.Key) {
				return fmt.Sprintf("partition %d: the key %q is still diverted: %+v", p.number, s.Key, s)
			}
		}
	}
	return ""
}

// isHeld reports whether a member holds a key. The store may say otherwise after the lost reply of an operator's call.
func (w *world) isHeld(partition int32, key string) bool {
	return slices.ContainsFunc(w.members, func(mb *member) bool {
		held, _ := mb.run.Held(w.t.Context(), "posts", partition, "", maxHeld)
		return slices.ContainsFunc(held, func(s pipeline.StrandSnapshot) bool { return s.Key == keystrand.Lane(key).String() })
	})
}

// kept reports whether a message may stay in the store at the end.
func (w *world) kept(f *fact) bool { return w.set.keep && f.logged }

// after checks that all keys are direct again, and that new messages of them are handled.
func (w *world) after() {
	for _, p := range w.parts {
		w.append(p, len(p.facts))
	}
	w.drain()
}

// check checks the end of the play.
func (w *world) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		for i, f := range p.facts {
			for _, g := range p.facts[i+1:] {
				if f.effect > g.effect && g.effect > 0 && f.mask&g.mask != 0 && !f.logged && !g.logged {
					w.broken("I1: the last effect of %v came before that of %v", g, f)
				}
			}
		}
	}
	if w.store != nil && w.store.Logs() != 0 {
		w.broken("I10: %d logs of the store are open after Run", w.store.Logs())
	}
}

// resumeHeld resumes the held keys of a partition, unless they are to stay.
func (w *world) resumeHeld(mb *member, p int32) {
	if w.store == nil || w.set.keep {
		return
	}
	held, _ := mb.run.Held(w.t.Context(), "posts", p, "", maxHeld)
	for _, s := range held {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		_, _ = mb.run.ResumeHeld(ctx, "posts", p, s.Key, "the simulation")
		cancel()
	}
}

const maxHeld = 1000
