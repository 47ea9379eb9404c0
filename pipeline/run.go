package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/source"
)

// Run runs the pipeline until ctx ends, the source has no more messages, or a failure stops it. It blocks. When it
// returns, all its goroutines have ended, except abandoned handlers and calls, which a [*StuckError] names. A pipeline runs once:
// a second call returns [ErrRunTwice] and changes nothing.
//
// When ctx ends, Run stops in steps:
//
//   - It starts no more turns. Running handlers may continue for Timing.DrainTimeout; then their ctx ends.
//   - It waits for the handlers, see [Builder.AbandonStuck], and for every Write of a sink.
//   - It commits what is settled, releases the partitions and closes the source, for at most Timing.CloseTimeout.
//   - It returns nil, or the errors that occurred.
//
// At the end of a finite source the partitions are released already; closing is limited in the same way.
//
// The error may hold several errors; use errors.Is and errors.As. A [*FailureError] is a message for which the policy
// [Stop] stopped the pipeline. A [*StuckError] names abandoned handlers and calls. An error of the source names the partition
// and the offset. An [*UnwrittenError] says that outputs wait for a missing topic or permission. A [*HeldError] says that a
// finite source has ended while keys are held. A failed commit is not an error of Run: it is logged, and the messages it would
// have covered are handled again.
func (p *Pipeline) Run(ctx context.Context) error {
	if p.started.Swap(true) {
		return ErrRunTwice
	}
	p.report.writeWith(base(ctx))
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.fail = func(err error) { p.fault.set(err); cancel(err) }
	p.runSince = time.Now()
	p.mu.Unlock()
	ended, end := context.WithCancel(base(ctx))
	var err error
	go func() { // its own goroutine, since it may have to be abandoned
		defer end()
		err = errRunExited
		err = p.run(ctx, run, cancel)
	}()
	defer p.report.stopped(base(ctx))
	if abandoned := p.awaitEnd(ended, run); len(abandoned) > 0 {
		return errors.Join(p.fault.get(), p.sinks.err(), p.stuckError(abandoned))
	}
	return err
}

var errRunExited = errors.New("pipeline: Close of the source, or Open or Close of the sink, called runtime.Goexit: it must return")

// run is Run without a limit on the calls that ignore the end of their ctx. It calls end, which ends run, before it
// closes what it opened.
func (p *Pipeline) run(ctx, run context.Context, end context.CancelCauseFunc) error {
	var reporter, committer, partitions sync.WaitGroup // partitions: flows, owners and watchers
	stopReports := make(chan struct{})
	reporter.Go(func() { p.report.run(base(ctx), stopReports) })
	if p.cfg.onEvent != nil {
		reporter.Go(func() { p.report.deliver(base(ctx), stopReports) })
	}
	defer func() { close(stopReports); reporter.Wait() }() // last, since it logs what the others wait for
	p.watchers.start = partitions.Go
	p.mu.Lock()
	p.ownBy = func(pt *partition, o *owner) { partitions.Go(func() { p.own(ctx, run, pt, o) }) }
	p.mu.Unlock()
	watching, stopWatching := context.WithCancel(run)
	var watches sync.WaitGroup // over sinks
	defer watches.Wait()
	defer stopWatching()
	p.sinks.start = func(watch func(context.Context)) { watches.Go(func() { watch(watching) }) }
	if err := p.openSink(); err != nil {
		end(nil)
		return errors.Join(err, p.close(ctx))
	}
	p.sinks.addLetters(p.cfg.policy)
	watches.Go(func() { p.sinks.watch(watching) })

	p.limitPrefetch()
	commits, stopCommits := context.WithCancel(base(ctx))
	committer.Go(func() { p.commitOnTicks(commits, run.Done()) })

	p.enterState(Running)
	var more bool // Accept has not returned io.EOF
	for {
		sp, err := p.accept(run)
		if err != nil {
			if more = err != io.EOF; more && run.Err() == nil { //nolint:errorlint // an error that wraps io.EOF is a failure, such as a lost connection
				p.failed(fmt.Errorf("pipeline: accept: %w", err))
			}
			break
		}
		partitions.Go(func() { p.read(ctx, run, sp) })
	}
	p.report.tell(nil, Event{Kind: EventStopping, Err: context.Cause(run)})
	p.enterState(Stopping) // the remaining partitions drain or reach the end of a finite source
	if more && run.Err() != nil {
		p.stopSource() // here, since the contract allows an Accept after the end of ctx, but none after Stop
	}
	partitions.Wait()
	end(nil) // also at the end of a finite source: from here on CloseTimeout limits the calls
	p.releaseTurnedAway(ctx)
	stopCommits()
	committer.Wait()
	closed := p.close(ctx)
	return errors.Join(p.fault.get(), p.sinks.err(), p.heldBack.err(), closed) // read after close, which may meet a failure
}

// read opens a partition that was accepted and reads it until Fetch returns an error. A message passes these steps:
//
//	fetch → track → submit → turn (middleware, handler) → write → settle → commit
//
// The owner of the partition then releases it.
func (p *Pipeline) read(ctx, run context.Context, sp source.Partition) {
	pt, err := p.open(ctx, sp)
	if err != nil {
		p.turnAway(sp, err)
		return
	}
	p.watch(pt)
	stopping := run.Err() != nil
	if stopping { // the committer may have passed on the end of run before
		pt.attend()
	}
	err = errFlowExited
	defer func() { // also after runtime.Goexit
		pt.rest.stop(nil)
		o := pt.attend()
		o.fetched <- err
		close(o.stopped)
	}()
	if stopping { // awaitEnd need not have counted this partition
		err = context.Cause(run)
		return
	}
	err = p.flow(run, pt)
}

var errFlowExited = errors.New("the key function, or Fetch of the source, called runtime.Goexit: it must return")

// turnAway ends Run because the source offered a partition that must not be handled.
func (p *Pipeline) turnAway(sp source.Partition, err error) {
	p.mu.Lock()
	p.turnedAway = append(p.turnedAway, sp)
	p.mu.Unlock()
	p.failed(err)
}

// releaseTurnedAway releases the partitions that were turned away. It runs after all others are released, since until
// then their handlers ran.
func (p *Pipeline) releaseTurnedAway(ctx context.Context) {
	for _, sp := range p.turnedAway {
		_ = p.release(ctx, sp) // Run returns the error that turned it away, the cause of this one
	}
}

// flow fetches messages and submits them to their lanes, as long as there is room.
//
// Thousands of partitions may wait in Fetch. So flow has few variables, and leaves the rest to functions.
func (p *Pipeline) flow(run context.Context, pt *partition) error {
	if pt.divert != nil {
		if err := pt.divert.open(pt.rest.begin(run)); err != nil {
			return err
		}
	}
	b := &source.Batch{MaxBytes: p.cfg.limits.FetchBytes}
	for {
		ctx := pt.rest.begin(run)
		err := p.admit(ctx, pt)
		if err == nil {
			b.MaxMessages, b.Messages = p.mostMessages(pt), b.Messages[:0]
			err = pt.source.Fetch(ctx, b)
		}
		if pt.rest.end(run, err) {
			b.Messages = nil
			p.budget.Take(pt.share, budget.Usage{}) // nothing was fetched
			pt.trim()
			continue
		}
		if err == nil {
			err = p.take(pt, b)
		}
		if err != nil {
			return err
		}
	}
}

// mostMessages returns how many messages may be fetched.
func (p *Pipeline) mostMessages(pt *partition) int {
	return int(min(int64(p.cfg.limits.FetchMessages), max(p.replayable(pt), 1)))
}

// take submits a batch that was fetched.
func (p *Pipeline) take(pt *partition, b *source.Batch) error {
	if err := pt.awaitUnpaused(pt.rest.ctx); err != nil { // it may have been paused during Fetch
		return err
	}
	first, settled, err := pt.track(b)
	if err != nil {
		return err
	}
	return p.submit(pt, b, first, settled)
}

// submit submits a batch to the lanes of its keys.
func (p *Pipeline) submit(pt *partition, b *source.Batch, first int64, settled []bool) error {
	if pt.divert != nil {
		return pt.divert.submit(b, first, settled)
	}
	lanes, size := pt.queue.Batch(), budget.Usage{}
	for i := range b.Messages {
		if settled != nil && settled[i] {
			continue // an earlier owner settled it ahead of the frontier
		}
		m := &b.Messages[i]
		u := budget.Usage{Messages: 1, Bytes: int(min(int64(m.Size()), math.MaxUint32))}
		size = size.Plus(u)
		fill(p.place(pt, lanes, m, first+int64(i)), m, u, lanes)
	}
	p.budget.Take(pt.share, size)
	return pt.queue.Submit(lanes)
}

// fill puts a message into its item.
func fill(it *item, m *keystrand.Message, size budget.Usage, lanes *keyed.Batch[item]) {
	it.Message, it.size = *m, uint32(size.Bytes) //nolint:gosec // it is at most that
	if lanes.Slow() {
		it.unpin()
	}
}

// finish settles the items that have left their lanes.
func (p *Pipeline) finish(q *queue, items []*item) {
	pt, _ := q.Data().(*partition)
	var room [64]int64
	numbers, size := room[:0], budget.Usage{}
	pumps := int64(0)
	for _, it := range items {
		if it.marks&(sinking|unkeyed|erred|pumping) != 0 {
			if it.marks.has(pumping) {
				pumps++ // its records are settled since they are in the store
				continue
			}
			pt.forget(it)
			if it.marks.has(sinking) {
				continue // its output settles it
			}
		}
		numbers = append(numbers, it.number)
		size = size.Plus(it.usage())
	}
	p.settle(pt, numbers, size)
	pt.settled.Add(int64(len(numbers)) + pumps)
}

// settle marks messages as settled and returns their budget.
func (p *Pipeline) settle(pt *partition, numbers []int64, size budget.Usage) {
	if len(numbers) == 0 || pt.over.Load() {
		return
	}
	if err := pt.tracker.Settle(numbers); err != nil {
		p.failed(fmt.Errorf("pipeline: %v: settle: %w", pt.id, err)) // a broken invariant: stop before more is committed
		return
	}
	p.counts.settled.Add(int64(len(numbers)))
	p.budget.Give(pt.share, size)
	pt.gate.poke()
}

// commitOnTicks commits the progress of all partitions at every CommitInterval. Between two intervals it commits the
// partitions that would soon wait for a commit. Once stopping is closed, it sees that every partition is released.
func (p *Pipeline) commitOnTicks(ctx context.Context, stopping <-chan struct{}) {
	const parts = 10 // of a CommitInterval
	tick := time.NewTicker(max(p.cfg.timing.CommitInterval/parts, 1))
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for part := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			stopping = nil
			for _, pt := range p.partitions() {
				pt.attend()
			}
			continue
		case <-tick.C:
		}
		now, all := time.Now(), p.partitions()
		for _, pt := range all {
			pt.rest.due(now)
			if part%parts != 0 && !p.needsCommit(pt) {
				continue
			}
			if pt.commits.Due(pt.tracker.State()) {
				under.Go(func() { _ = p.commitNow(ctx, pt) }) // commitNow logs the error
			} else if pt.divert.hasMarks() {
				under.Go(func() { p.saveMarks(ctx, pt) })
			}
		}
		p.diverts.wake(all)
		part++
	}
}

// close closes what Run opened, after the last partition is released. A sink that hangs keeps no source from being closed,
// which lets the other members of its group go on.
func (p *Pipeline) close(ctx context.Context) error {
	outputs := errRunExited
	var closing sync.WaitGroup
	closing.Go(func() { outputs = p.closeOutputs() })
	var errs []error
	wait, cancel := context.WithCancel(base(ctx))
	if p.stuckError(nil) != nil {
		cancel() // the turns that still run are abandoned
	}
	defer cancel()
	_ = p.exec.Close(wait) // stuckError names the turns that still run
	if err := p.closeSource(); err != nil {
		errs = append(errs, fmt.Errorf("pipeline: close the source: %w", err))
	}
	closing.Wait()
	p.enterState(Stopped)
	return errors.Join(append(errs, outputs, p.stuckError(nil))...)
}
