// Virtual time: TestSimulation plays in bubbles.

package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
)

var (
	errFenced  = errors.New("the database knows a later owner")
	errRefused = errors.New("refused")
	errFault   = errors.New("simulated fault")
)

// Handle implements keystrand.Handler.
func (mb *member) Handle(ctx context.Context, m *keystrand.Message) error {
	return mb.turn(ctx, []*keystrand.Message{m})
}

// HandleBatch implements keystrand.BatchHandler.
func (mb *member) HandleBatch(ctx context.Context, ms []*keystrand.Message) error {
	return mb.turn(ctx, ms)
}

// Transform implements keystrand.Transformer.
func (mb *member) Transform(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
	f := mb.w.parts[m.Partition].at[m.Offset]
	for i := range f.outs {
		o := keystrand.Message{Key: m.Key, Value: []byte{byte(i)}, Partition: m.Partition, Offset: m.Offset, Epoch: m.Epoch}
		switch mb.w.roll(8, aboutKey, m.Offset, int64(i)) {
		case 0:
			o.Key = nil
		case 1:
			o.Key = []byte("other")
		}
		emit(o)
	}
	return mb.turn(ctx, []*keystrand.Message{m})
}

// turn handles messages of one key: it takes its time, fails, panics or ignores ctx, as the seed says.
func (mb *member) turn(ctx context.Context, ms []*keystrand.Message) error {
	w := mb.w
	c := w.begin(mb, ms)
	defer w.end(c)
	good, about := len(c.facts), int64(c.number)
	for i, f := range c.facts {
		if w.fails(f) {
			good = i
			break
		}
	}
	at := c.facts[0].place.at
	sleep := time.Duration(1+w.roll(int(2*w.set.service/time.Millisecond), aboutTime, at, about)) * time.Millisecond
	if w.roll(60, aboutTime, at, about, 1) == 0 {
		sleep *= 20
	}
	if w.roll(100, aboutStubborn, at, about) < w.set.stubborn {
		time.Sleep(20 * sleep) // whatever ctx says
	} else if err := wait(ctx, sleep); err != nil && w.roll(3, aboutStubborn, at, about, 1) > 0 {
		return err
	}
	if good == len(c.facts) {
		if !w.handled(c, good) {
			return errFenced
		}
		return nil
	}
	kind := w.roll(12, aboutKind, at, about)
	if len(c.facts) > 1 && kind < 4 { // the whole batch has no effect
		return errBoom
	}
	if !w.handled(c, good) {
		return errFenced
	}
	err := w.failure(ctx, c, c.facts[good], kind)
	if len(c.facts) > 1 {
		err = &keystrand.BatchError{Settled: good, Err: err}
	}
	return err
}

// fails reports whether the next call for a message fails.
func (w *world) fails(f *fact) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.healed && (f.calls <= f.poison || w.roll(100, aboutFailure, f.place.at, int64(f.calls)) < w.set.failing)
}

// failure fails for a message in one of many ways.
func (w *world) failure(ctx context.Context, c *call, f *fact, kind int) error {
	park := time.Duration(w.roll(30, aboutPark, f.place.at, int64(c.number))) * time.Millisecond
	single := len(c.facts) == 1
	switch {
	case kind < 5:
		return errBoom
	case kind == 5:
		return keystrand.Permanent(errBoom)
	case kind == 6:
		return keystrand.RetryAfter(park, errBoom)
	case kind == 7:
		return keystrand.Later(park, "a limit")
	case kind == 8 && f.poison == 0:
		if ctx.Err() == nil {
			w.skipped(f, c.epoch)
		}
		return keystrand.Skip("not wanted")
	case kind == 9 && single:
		panic("boom")
	case kind == 10 && single:
		runtime.Goexit()
	}
	return errBoom
}

// skipped records that a message is settled without effect.
func (w *world) skipped(f *fact, epoch int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parts[f.partition]
	if w.fenced(p, epoch) {
		return
	}
	w.count(tSkipped)
	f.effect = 0
	w.settleLocked(f, epoch, "skipped")
}

// decide is the failure policy.
func (w *world) decide(f pipeline.Failure) pipeline.Action {
	m := f.Message
	p := w.parts[m.Partition]
	x := p.at[m.Offset]
	w.mu.Lock()
	choice := w.choiceLocked(x, f)
	x.decided++
	if choice == chooseStop || errors.Is(f.Err, errRefused) { // it may act as Stop
		w.endAllLocked(p.epochs[m.Epoch].mb)
	}
	w.note("e%d policy %d for %v: %v", m.Epoch, choice, x, f.Err)
	w.mu.Unlock()
	switch choice {
	case chooseHold:
		if w.set.diverts {
			return pipeline.Hold(f)
		}
		return pipeline.Block(f)
	case chooseBlock:
		return pipeline.Block(f)
	case chooseBlockFor:
		return pipeline.BlockFor(5*time.Millisecond, 100*time.Millisecond)(f)
	case chooseSkip:
		w.skipped(x, m.Epoch)
		return pipeline.Skip(f)
	case chooseLetter:
		return pipeline.DeadLetter(w.dlq)(f)
	case chooseStop:
	}
	return pipeline.Stop(f)
}

func (w *world) choiceLocked(x *fact, f pipeline.Failure) choice {
	about := int64(0)
	if x.mask != 0 {
		for x.mask>>about&1 == 0 {
			about++
		}
	}
	choice := w.set.policies[int(about)%maxKeys]
	if w.set.mixed {
		choice = w.set.policies[w.roll(maxKeys, aboutPolicy, x.place.at, int64(x.decided))]
	}
	if !w.healed {
		return choice
	}
	if x.kind == unkeyed { // nothing heals it
		return chooseSkip
	}
	if errors.Is(f.Err, errRefused) && (choice == chooseHold || choice == chooseBlock || choice == chooseStop) {
		return chooseBlockFor
	}
	return choice
}

// write is the Fault of the sink: one output becomes durable, or not.
func (w *world) write(ctx context.Context, m *keystrand.Message) error {
	p := w.parts[m.Partition]
	f := p.at[m.Offset]
	out := int(m.Value[0])
	w.mu.Lock()
	p.faults++
	about := []int64{aboutWrite, m.Offset, m.Epoch, int64(out), int64(f.decided), p.faults}
	w.mu.Unlock()
	if err := w.trouble(ctx, outSink, time.Duration(w.roll(6, about...))*time.Millisecond, w.set.sinkFaults, about); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced(p, m.Epoch) {
		return errFenced
	}
	if f.refusal > 0 && !w.healed {
		f.refusal--
		w.note("e%d sink refuses %v", m.Epoch, f)
		return keystrand.Permanent(errRefused)
	}
	w.checkBeforeLocked(f, m.Epoch, "is durable")
	w.effects++
	f.effect = w.effects
	w.note("e%d output %d of %v is durable", m.Epoch, out, f)
	f.out |= 1 << out
	if f.out == 1<<f.outs-1 {
		w.count(tHandled)
		w.settleLocked(f, m.Epoch, "written")
	}
	if !w.healed && w.roll(100, append(about, 2)...) < w.set.sinkFaults {
		w.count(tFaults)
		w.troubleLocked(time.Now())
		return sinkmemory.ErrReplyLost
	}
	return nil
}

// writeLetter is the Fault of the dead-letter sink.
func (w *world) writeLetter(ctx context.Context, m *keystrand.Message) error {
	p := w.parts[m.Partition]
	f := p.at[m.Offset]
	w.mu.Lock()
	p.faults++
	about := []int64{aboutLetter, m.Offset, m.Epoch, p.faults}
	w.mu.Unlock()
	if err := w.trouble(ctx, outSink, time.Duration(w.roll(6, about...))*time.Millisecond, w.set.sinkFaults, about); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced(p, m.Epoch) {
		return errFenced
	}
	if w.set.how != "sink" {
		w.checkBeforeLocked(f, m.Epoch, "is dead-lettered")
	}
	w.count(tLetters)
	f.effect = 0
	w.settleLocked(f, m.Epoch, "dead-lettered")
	if !w.healed && w.roll(100, append(about, 2)...) < w.set.sinkFaults {
		w.count(tFaults)
		w.troubleLocked(time.Now())
		return sinkmemory.ErrReplyLost
	}
	return nil
}

// wait sleeps until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
