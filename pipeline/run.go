package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/source"
)

// Run runs the pipeline until ctx ends, the source has no more, or a failure stops it. It blocks, and when it returns
// every goroutine that it began has ended; the exception, a handler that never returns, is named in a [*StuckError].
//
// When ctx ends it stops in steps: no turn is started any more, running handlers may go on for Timing.DrainTimeout,
// then their ctx ends; what is settled is committed, the partitions are released and the source is closed. It then
// returns nil, or what went wrong.
//
// Its error can hold several at once; ask errors.Is and errors.As. A [*FailureError] is a message that the policy [Stop]
// has stopped for; a [*StuckError] names handlers that were given up; an error of the source names the partition and
// offset. A commit that is not stored is no error: it is told to the log, and what it would have said is handled again.
// A pipeline runs once: a second call returns [ErrRunTwice] and changes nothing.
func (p *Pipeline) Run(ctx context.Context) error {
	if p.started.Swap(true) {
		return ErrRunTwice
	}
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var fault firstError
	p.mu.Lock()
	p.fail = func(err error) { fault.set(err); cancel(err) }
	p.mu.Unlock()
	if err := p.openSink(); err != nil {
		return errors.Join(err, p.close(ctx))
	}

	commits, stopCommits := context.WithCancel(base(ctx))
	var committer, owners sync.WaitGroup
	committer.Go(func() { p.commitOnTicks(commits) })

	p.enterState(Running)
	for {
		sp, err := p.cfg.source.Accept(run)
		if err != nil {
			if !errors.Is(err, io.EOF) && run.Err() == nil {
				p.failed(fmt.Errorf("pipeline: accept: %w", err))
			}
			break
		}
		owners.Go(func() { p.own(ctx, run, sp) })
	}
	p.enterState(Stopping) // while the partitions that are left drain, or come to the end of a finite source
	if s, ok := p.cfg.source.(source.Stopper); ok && run.Err() != nil {
		s.Stop() // here and not at the end of ctx, after which the contract allows another Accept
	}
	owners.Wait()
	p.releaseTurnedAway(ctx)
	stopCommits()
	committer.Wait()
	return errors.Join(fault.get(), p.close(ctx))
}

// own is one ownership of one partition, from Accept to Release. What follows is the way of a message:
//
//	fetch → track → submit → turn (middleware, handler) → write → settle → commit
func (p *Pipeline) own(ctx, run context.Context, sp source.Partition) {
	pt, err := p.open(ctx, sp)
	if err != nil {
		p.turnAway(sp, err)
		return
	}
	fetching, stop := context.WithCancelCause(run)
	fetched, stopped := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(stopped)
		err := errFlowExited
		defer func() { fetched <- err }()
		err = p.flow(fetching, pt)
	}()

	why := p.await(run, pt, fetched)
	p.leave(ctx, pt, why, flowing{stop, stopped})
}

var errFlowExited = errors.New("the key function, or Fetch of the source, ended its goroutine (runtime.Goexit): it must return")

// turnAway ends Run because of a partition that must not be handled.
func (p *Pipeline) turnAway(sp source.Partition, err error) {
	p.mu.Lock()
	p.turnedAway = append(p.turnedAway, sp)
	p.mu.Unlock()
	p.failed(err)
}

// releaseTurnedAway releases what was turned away, after all that was not: until then its handlers ran.
func (p *Pipeline) releaseTurnedAway(ctx context.Context) {
	for _, sp := range p.turnedAway {
		release, cancel := context.WithTimeout(base(ctx), p.cfg.timing.CommitTimeout)
		_ = sp.Release(release) // Run returns why it was turned away, which is the cause of whatever this says
		cancel()
	}
}

// flow moves messages from the partition into their lanes, as long as there is room for them.
func (p *Pipeline) flow(ctx context.Context, pt *partition) error {
	defer pt.rest.over()
	b := source.Batch{MaxBytes: p.cfg.limits.FetchBytes}
	for {
		if err := p.admit(ctx, pt); err != nil {
			return err
		}
		b.MaxMessages = int(min(int64(p.cfg.limits.FetchMessages), max(p.replayable(pt), 1)))
		b.Messages = b.Messages[:0]
		err := pt.source.Fetch(pt.rest.begin(ctx), &b)
		if pt.rest.end(len(b.Messages), err) {
			b.Messages, pt.offsets = nil, nil
			pt.queue.Trim()
			pt.tracker.Trim()
			continue
		}
		if err != nil {
			return err
		}
		if err := pt.awaitUnpaused(ctx); err != nil { // it may have been paused while it waited for messages
			return err
		}
		pt.fetchedAt = time.Now()
		first, settled, err := pt.track(&b)
		if err != nil {
			return err
		}
		if err := p.submit(pt, &b, first, settled); err != nil {
			return err
		}
	}
}

// submit hands a batch to the lanes of its keys.
func (p *Pipeline) submit(pt *partition, b *source.Batch, first int64, settled []bool) error {
	lanes, size := pt.queue.Batch(), budget.Usage{}
	for i := range b.Messages {
		if settled != nil && settled[i] {
			continue // an earlier owner has settled it ahead of the frontier
		}
		m := &b.Messages[i]
		it := p.place(pt, lanes, m, first+int64(i))
		it.Message = *m
		it.size = uint32(min(int64(m.Size()), math.MaxUint32)) //nolint:gosec // it fits
		size = size.Plus(it.usage())
		if lanes.Slow() {
			it.unpin()
		}
	}
	p.budget.Take(pt.share, size)
	return pt.queue.Submit(lanes)
}

// finish settles items that have left their lanes.
func (p *Pipeline) finish(q *queue, items []*item) {
	pt, _ := q.Data().(*partition)
	var room [64]int64
	numbers, size := room[:0], budget.Usage{}
	for _, it := range items {
		if it.marks&(sinking|unkeyed) != 0 {
			if it.marks.has(sinking) {
				continue // its output settles it
			}
			pt.keyErrors.Delete(it.number)
		}
		numbers = append(numbers, it.number)
		size = size.Plus(it.usage())
	}
	p.settle(pt, numbers, size)
	pt.settled.Add(int64(len(numbers)))
}

// settle marks messages as settled and gives back their budget.
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

// commitOnTicks commits the progress of all partitions together, at every tick; between two of them, that of partitions
// which are about to wait for a commit.
func (p *Pipeline) commitOnTicks(ctx context.Context) {
	const parts = 10 // of an interval
	tick := time.NewTicker(max(p.cfg.timing.CommitInterval/parts, 1))
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for part := 1; ; part++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		for _, pt := range p.partitions() {
			pt.rest.due(now)
			if (part%parts == 0 || p.needsCommit(pt)) && pt.commits.Due(pt.tracker.State()) {
				under.Go(func() { _ = p.commitNow(ctx, pt) }) // it has told the log
			}
		}
	}
}

// close ends what Run began, after the last partition was released.
func (p *Pipeline) close(ctx context.Context) error {
	var errs []error
	errs = append(errs, p.closeOutputs())
	wait, cancel := context.WithCancel(base(ctx))
	if p.stuckError() != nil {
		cancel() // whoever still runs was given up by its partition
	}
	defer cancel()
	_ = p.exec.Close(wait) // what still runs is told by stuckError, with more
	if err := p.cfg.source.Close(); err != nil {
		errs = append(errs, fmt.Errorf("pipeline: close the source: %w", err))
	}
	p.enterState(Stopped)
	return errors.Join(append(errs, p.stuckError())...)
}
