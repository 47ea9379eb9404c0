package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// leaving is why and how a partition is let go.
type leaving struct {
	cause    error     // what context.Cause tells its handlers
	deadline time.Time // when the source lets go whatever happens; zero if never
	lost     bool      // somebody else may own it already
}

// flowing is how the fetching of a partition is told to stop, and when it has: soon, for what it still brings is refused by
// the fence. Only a Fetch that ignores the end of its ctx, or a key function that does not return, takes longer.
type flowing struct {
	stop    context.CancelCauseFunc
	stopped <-chan struct{}
}

// await blocks until the partition must be let go, and tells why. fetched brings what flow returned.
func (p *Pipeline) await(run context.Context, pt *partition, fetched <-chan error) leaving {
	ctx, cancel := context.WithCancel(run)
	var settling sync.WaitGroup
	defer settling.Wait()
	defer cancel()
	var settled chan error // receives once flow is at the end of its log and all is settled
	for {
		select {
		case <-run.Done():
			return leaving{cause: keystrand.ErrStopping}
		case l := <-pt.source.Leaving():
			return leavingFor(l)
		case err := <-pt.lostC:
			pt.log.LogAttrs(run, slog.LevelWarn, "the partition is lost: a newer owner has it", slog.Any("error", err))
			return leaving{cause: keystrand.ErrLost, lost: true}
		case err := <-settled:
			if err == nil {
				return leaving{cause: keystrand.ErrStopping}
			}
		case err := <-fetched:
			fetched = nil
			switch {
			case run.Err() != nil, errors.Is(err, source.ErrLeaving):
				// why is told by the other channels
			case errors.Is(err, io.EOF):
				settled = make(chan error, 1)
				settling.Go(func() { settled <- pt.gate.await(ctx, pt.allSettled) })
			default:
				p.failed(fmt.Errorf("pipeline: fetch %v: %w", pt.id, err))
			}
		}
	}
}

func leavingFor(l source.Leave) leaving {
	if l.Lost {
		return leaving{cause: keystrand.ErrLost, lost: true}
	}
	return leaving{cause: keystrand.ErrLeaving, deadline: l.Deadline}
}

// leave lets a partition go, in the order that keeps I7 and I8: nothing starts after the fence, no commit follows the
// release, and only the release lets the source tell others that the partition is free.
func (p *Pipeline) leave(ctx context.Context, pt *partition, why leaving, flow flowing) {
	began := time.Now()
	pt.log.LogAttrs(ctx, slog.LevelInfo, "partition leaves", slog.Any("why", why.cause))
	pt.queue.Fence(nil)
	flow.stop(why.cause)
	if why.lost { // at once: somebody else may handle the same messages
		pt.cancel(why.cause)
	}
	if !why.lost {
		why = p.drain(ctx, pt, why)
	}
	pt.cancel(why.cause)
	p.cutOutputs(pt) // what is not written by now is dropped; a Write under way returns soon
	if !why.lost {
		why = p.awaitCancelled(ctx, pt, why)
	}
	if !why.lost {
		p.commitLast(ctx, pt, why)
	}
	pt.over.Store(true)
	pt.commits.Abort()
	_ = pt.gate.await(base(ctx), pt.commits.Idle) // Release comes after the last Commit has returned; its ctx has ended
	// And after the last Fetch. By now all that was settled is committed.
	p.awaitReturn(ctx, pt, flow.stopped, "the key function, or Fetch of the source")
	release, cancel := context.WithTimeout(base(ctx), p.cfg.timing.CommitTimeout)
	defer cancel()
	if err := pt.source.Release(release); err != nil {
		p.failed(fmt.Errorf("pipeline: release %v: %w", pt.id, err))
	}
	p.exit(pt)
	p.budget.Close(pt.share)
	pt.log.LogAttrs(ctx, slog.LevelInfo, "partition released", slog.Duration("took", time.Since(began)), slog.Int64("dropped", pt.queue.Counts().Dropped+pt.dropped.Load()))
	if why.lost {
		p.awaitLate(ctx, pt)
	}
}

// drain lets running handlers and writes end by themselves, as long as there is time: less of it once the partition is
// asked back.
func (p *Pipeline) drain(ctx context.Context, pt *partition, why leaving) leaving {
	end := time.Now().Add(p.cfg.timing.DrainTimeout)
	for {
		if !why.deadline.IsZero() {
			// What follows the drain (handlers that end because of their ctx, the last commit) needs a part of the time.
			left := time.Until(why.deadline)
			if d := why.deadline.Add(-min(2*time.Second, left/4)); d.Before(end) {
				end = d
			}
		}
		wait, cancel := context.WithDeadline(base(ctx), end)
		next, idle := p.awaitIdle(wait, pt, why)
		late := wait.Err() != nil
		cancel()
		if idle || late || next.lost {
			return next
		}
		why = next
	}
}

// awaitCancelled waits for the handlers whose ctx has ended. Those that ignore it are waited for, with an alarm now and
// then, until the partition is lost; or they are given up, if the pipeline was built so, in time for the last commit.
func (p *Pipeline) awaitCancelled(ctx context.Context, pt *partition, why leaving) leaving {
	for {
		patience := p.cfg.timing.StuckAfter
		if p.cfg.abandon && !why.deadline.IsZero() {
			patience = min(patience, max(time.Until(why.deadline)/2, 0))
		}
		wait, cancel := context.WithTimeout(base(ctx), patience)
		next, idle := p.awaitIdle(wait, pt, why)
		late := wait.Err() != nil
		cancel()
		why = next
		if idle || why.lost || late && p.alarm(ctx, pt) {
			return why
		}
	}
}

// awaitReturn waits for a call of the source or the user that must return by now, with an alarm now and then.
func (p *Pipeline) awaitReturn(ctx context.Context, pt *partition, returned <-chan struct{}, call string) {
	tick := time.NewTicker(p.cfg.timing.StuckAfter)
	defer tick.Stop()
	for {
		select {
		case <-returned:
			return
		case <-tick.C:
			pt.log.LogAttrs(ctx, slog.LevelError, "a call has not returned after its ctx ended; keeping the partition until it does", slog.String("call", call))
		}
	}
}

// awaitLate does for handlers what awaitCancelled does, for a partition that was lost and is released already: Run must not return before its
// handlers and the Writes of its outputs have, or name the handlers.
func (p *Pipeline) awaitLate(ctx context.Context, pt *partition) {
	for {
		wait, cancel := context.WithTimeout(base(ctx), p.cfg.timing.StuckAfter)
		err := pt.queue.Wait(wait)
		if err == nil {
			err = pt.gate.await(wait, pt.written)
		}
		cancel()
		if err == nil || p.alarm(ctx, pt) {
			return
		}
	}
}

// alarm tells of handlers and Writes that ignore the end of their ctx, and whether they are given up. A Write never is:
// what it stores after the partition has another owner would overtake what that one stores.
func (p *Pipeline) alarm(ctx context.Context, pt *partition) (abandoned bool) {
	running, writing := p.running(pt), pt.outputs.Pending()
	abandoned = p.cfg.abandon && writing == 0
	if len(running) > 0 {
		pt.log.LogAttrs(ctx, slog.LevelError, "handlers ignore the end of their ctx", slog.Any("keys", running), slog.Bool("abandoned", abandoned))
	}
	if writing > 0 {
		pt.log.LogAttrs(ctx, slog.LevelError, "a Write of a sink ignores the end of its ctx: it is waited for", slog.Int64("outputs", writing))
	}
	if abandoned {
		p.abandon(pt, running)
	}
	return abandoned
}

// awaitIdle waits until no turn and no write of the partition is under way, ctx ends, or the source says more about the
// leave. It returns what is known of that now, and whether the partition is idle.
func (p *Pipeline) awaitIdle(ctx context.Context, pt *partition, why leaving) (leaving, bool) {
	ctx, cancel := context.WithCancel(ctx)
	idle := make(chan struct{})
	var err error
	go func() {
		defer close(idle)
		if err = pt.queue.Wait(ctx); err == nil {
			err = pt.gate.await(ctx, pt.written)
		}
	}()
	defer func() {
		cancel()
		<-idle
	}()
	select {
	case <-idle:
		return why, err == nil
	case l := <-pt.source.Leaving():
		why.lost = l.Lost
		if l.Lost {
			why.cause = keystrand.ErrLost
		} else if !l.Deadline.IsZero() {
			why.deadline = l.Deadline
		}
	case err := <-pt.lostC:
		pt.log.LogAttrs(ctx, slog.LevelWarn, "the partition is lost: a newer owner has it", slog.Any("error", err))
		why = leaving{cause: keystrand.ErrLost, lost: true}
	}
	return why, false
}

// commitLast commits what is settled, and again until it is stored, the partition is lost, or its time is up. It waits
// for a commit that is under way: there is one at a time.
func (p *Pipeline) commitLast(ctx context.Context, pt *partition, why leaving) {
	timeout := p.cfg.timing.CommitTimeout
	if !why.deadline.IsZero() {
		timeout = min(timeout, max(time.Until(why.deadline), 0))
	}
	ctx, cancel := context.WithTimeout(base(ctx), timeout)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		cancelWhenLost(ctx, pt, cancel)
	}()
	defer func() { cancel(); <-over }()

	var err error
	pt.commits.Leave()
	for pt.gate.await(ctx, pt.commits.Idle) == nil {
		if !pt.commits.DueLast(pt.tracker.State()) {
			return // all of it is stored
		}
		if err = p.commitNow(ctx, pt); err == nil || errors.Is(err, commit.ErrFenced) {
			return
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		pt.log.LogAttrs(ctx, slog.LevelError, "the last commit was not stored: what was settled since the one before is handled again", slog.Any("error", err))
	}
}

// cancelWhenLost calls cancel once the partition is lost, or the time that the source gives it is up: what cannot be
// stored any more must not be waited for.
func cancelWhenLost(ctx context.Context, pt *partition, cancel func()) {
	var deadline <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-deadline:
			cancel()
			return
		case l := <-pt.source.Leaving():
			if l.Lost {
				cancel()
				return
			}
			if !l.Deadline.IsZero() {
				t := time.NewTimer(time.Until(l.Deadline))
				defer t.Stop() // once: a partition is asked back once
				deadline = t.C
			}
		}
	}
}

// pause sleeps for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
