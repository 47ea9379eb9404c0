package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
)

// leaving is why and by when a partition is released.
type leaving struct {
	cause    error         // context.Cause of the handlers' ctx
	deadline time.Time     // when the source revokes the partition in any case; zero if never
	lost     bool          // another process may already own it
	ended    bool          // it is at the end of its log, and all but held keys is handled
	late     time.Duration // how long its drain waited for nothing but sinks in trouble, which it gave up
}

// own is the goroutine of an owner.
func (p *Pipeline) own(ctx, run context.Context, pt *partition, o *owner) {
	p.leave(ctx, pt, p.await(run, pt, o), o)
}

// await blocks until the partition must be released and returns the reason.
func (p *Pipeline) await(run context.Context, pt *partition, o *owner) leaving {
	ctx, cancel := context.WithCancel(run)
	var settling sync.WaitGroup
	defer settling.Wait()
	defer cancel()
	var settled chan error // receives once flow is at the end of its log and everything is settled
	for {
		select {
		case <-run.Done():
			return leaving{cause: keystrand.ErrStopping}
		case l := <-o.leaving:
			return leavingFor(l)
		case <-o.lost:
			return leaving{cause: keystrand.ErrLost, lost: true}
		case err := <-settled:
			if err == nil {
				return leaving{cause: keystrand.ErrStopping, ended: true}
			}
		case err := <-o.fetched:
			switch {
			case run.Err() != nil:
				// await returns
			case errors.Is(err, source.ErrLeaving): // a channel gives the reason
				defer p.calls.begin("ErrLeaving of Fetch without a value from Leaving of " + pt.id.String())()
			case err == io.EOF: //nolint:errorlint // as in Run: only the bare error is an end
				settled = make(chan error, 1)
				settling.Go(func() { settled <- p.awaitSettled(ctx, pt) })
			default:
				p.failed(fmt.Errorf("pipeline: fetch %v: %w", pt.id, err))
			}
		}
	}
}

// awaitSettled waits until all messages are settled and, with a store, the log of every key that is not held is empty.
func (p *Pipeline) awaitSettled(ctx context.Context, pt *partition) error {
	if pt.divert == nil {
		return pt.gate.await(ctx, pt.allSettled)
	}
	pt.divert.ends()
	return pt.gate.await(ctx, func() bool { return pt.allSettled() && pt.divert.rested() })
}

func leavingFor(l source.Leave) leaving {
	if l.Lost {
		return leaving{cause: keystrand.ErrLost, lost: true}
	}
	return leaving{cause: keystrand.ErrLeaving, deadline: l.Deadline}
}

// leave drains and releases a partition in the order that I7 and I8 require. Nothing starts after the fence, no commit
// follows the release, and only the release lets the source offer the partition to others.
func (p *Pipeline) leave(ctx context.Context, pt *partition, why leaving, o *owner) {
	p.report.tell(pt, Event{Kind: EventLeaving, Err: why.cause})
	pt.queue.Fence(nil)
	if pt.divert != nil {
		pt.divert.fence()
	}
	pt.rest.stop(why.cause) // flow ends soon, since the fence refuses what it submits
	if why.lost {           // at once: another process may handle the same messages
		pt.cancel(why.cause)
	}
	if !why.lost {
		why = p.drain(ctx, pt, why, o)
	}
	pt.cancel(why.cause)
	if errors.Is(why.cause, keystrand.ErrStopping) {
		p.sinks.dropped(pt)
	}
	p.cutOutputs(pt) // drops outputs not written yet; a running Write returns soon
	if !why.lost {
		why = p.awaitCancelled(ctx, pt, why, o)
		p.report.tell(pt, Event{Kind: EventDrained, Messages: pt.tracker.State().Pending})
	}
	quiet := make(chan struct{}) // closed when the handlers and the Writes of its outputs have ended
	go func() {
		defer close(quiet)
		defer p.ending.ends(why.late)
		if why.lost {
			p.awaitLate(ctx, pt)
		}
	}()
	defer func() { <-quiet }()
	if !why.lost {
		p.commitLast(ctx, pt, why, o)
		if why.ended && pt.divert != nil {
			p.heldBack.add(pt.divert)
		}
	}
	pt.over.Store(true)
	pt.commits.Abort()
	_ = pt.gate.await(base(ctx), pt.commits.Idle) // Release must wait for the last Commit, whose ctx has ended
	// Release must also wait for the last Fetch. Everything settled is committed by now.
	p.awaitReturn(pt, o.stopped, "the key function, or Fetch or Leaving of the source")
	if pt.divert != nil {
		pt.divert.close() //nolint:contextcheck // it waits for calls whose ctx has ended
	}
	if err := p.release(ctx, pt.source); err != nil {
		p.failed(fmt.Errorf("pipeline: release %v: %w", pt.id, err))
	}
	p.watchers.remove(pt)
	p.exit(pt)
	p.budget.Close(pt.share)
	p.report.tell(pt, Event{Kind: EventReleased, Err: why.cause, Messages: pt.redelivered()})
}

// release calls Release of a partition.
func (p *Pipeline) release(ctx context.Context, sp source.Partition) error {
	defer p.calls.begin("Release of " + sp.ID().String())()
	ctx, cancel := context.WithTimeout(base(ctx), p.cfg.timing.CommitTimeout)
	defer cancel()
	defer context.AfterFunc(p.ending.releases, cancel)() //nolint:contextcheck // the ctx of the end of Run
	return sp.Release(ctx)
}

// drain waits for running handlers and writes, for at most DrainTimeout or, once the partition is revoked, until
// shortly before the source's deadline. It ends early if only sinks in trouble are left to wait for.
func (p *Pipeline) drain(ctx context.Context, pt *partition, why leaving, o *owner) leaving {
	end := time.Now().Add(p.cfg.timing.DrainTimeout)
	var blocked blockage
	for !p.sinks.block(pt, &blocked) {
		if !why.deadline.IsZero() {
			// Leave some time for the handlers that end by their ctx and for the last commit.
			left := time.Until(why.deadline)
			if d := why.deadline.Add(-min(2*time.Second, left/4)); d.Before(end) {
				end = d
			}
		}
		p.report.until(pt, end, why.deadline)
		look := end
		if next := time.Now().Add(sinkTick / 5); next.Before(end) {
			look = next
		}
		wait, cancel := context.WithDeadline(base(ctx), look)
		next, idle := p.awaitIdle(wait, pt, why, o)
		late := wait.Err() != nil && !time.Now().Before(end)
		cancel()
		if idle || late || next.lost {
			return next
		}
		why = next
	}
	why.late = time.Since(blocked.since)
	return why
}

// awaitCancelled waits for the handlers whose ctx has ended, and regularly logs those that ignore it. It returns when
// all have ended or the partition is lost. With AbandonStuck it abandons them, in time for the last commit.
func (p *Pipeline) awaitCancelled(ctx context.Context, pt *partition, why leaving, o *owner) leaving {
	for {
		patience := p.cfg.timing.StuckAfter
		if p.cfg.abandon && !why.deadline.IsZero() {
			patience = min(patience, max(time.Until(why.deadline)/2, 0))
		}
		wait, cancel := context.WithTimeout(base(ctx), patience)
		next, idle := p.awaitIdle(wait, pt, why, o)
		late := wait.Err() != nil
		cancel()
		why = next
		if idle || why.lost || late && p.alarm(ctx, pt) {
			return why
		}
	}
}

// awaitReturn waits for a call of the source or the user whose ctx has ended. The partition is kept until it returns.
func (p *Pipeline) awaitReturn(pt *partition, returned <-chan struct{}, call string) {
	defer p.calls.begin(call + " for " + pt.id.String())()
	<-returned
}

// awaitLate is awaitCancelled for a partition that is lost: its release waits for no handler. Run must not return before
// its handlers and the Writes of its outputs have, or it must name the handlers.
func (p *Pipeline) awaitLate(ctx context.Context, pt *partition) {
	for {
		wait, cancel := context.WithTimeout(base(ctx), p.cfg.timing.StuckAfter)
		err := pt.queue.Wait(wait)
		if err == nil {
			err = pt.gate.await(wait, pt.quiet)
		}
		cancel()
		if err == nil || p.alarm(ctx, pt) {
			return
		}
	}
}

// alarm logs handlers and Writes that ignore the end of their ctx, and reports whether nothing is to be waited for any more:
// the handlers were abandoned, or only a call of the store of diverted keys is left, which the release waits for. It
// never abandons a Write: an output stored after the partition has another owner would overtake that owner's outputs.
func (p *Pipeline) alarm(ctx context.Context, pt *partition) (abandoned bool) {
	running, writing := p.running(pt), pt.outputs.Pending()
	pt.stuck.Store(int64(len(running)))
	if len(running) == 0 && writing == 0 && pt.divert != nil && !pt.divert.quiet() {
		return true // only the store is left: what it stores late is refused, or there already, and the release waits for it
	}
	abandoned = p.cfg.abandon && writing == 0
	if len(running) > 0 {
		pt.log().LogAttrs(ctx, slog.LevelError, "handlers have not returned after cancel", slog.Any("keys", running), slog.Bool("abandoned", abandoned))
	}
	if writing > 0 {
		pt.log().LogAttrs(ctx, slog.LevelError, "sink write has not returned after cancel; waiting", slog.Int64("outputs", writing))
	}
	if abandoned {
		p.abandon(pt, running)
	}
	return abandoned
}

// awaitIdle waits until no turn and no write of the partition runs, ctx ends, or the source changes the conditions of
// the release. It returns the current conditions and reports whether the partition is idle.
func (p *Pipeline) awaitIdle(ctx context.Context, pt *partition, why leaving, o *owner) (leaving, bool) {
	ctx, cancel := context.WithCancel(ctx)
	idle := make(chan struct{})
	var err error
	go func() {
		defer close(idle)
		if err = pt.queue.Wait(ctx); err == nil {
			err = pt.gate.await(ctx, pt.quiet)
		}
	}()
	defer func() {
		cancel()
		<-idle
	}()
	select {
	case <-idle:
		return why, err == nil
	case l := <-o.leaving:
		why.lost = l.Lost
		if l.Lost {
			why.cause = keystrand.ErrLost
		} else if !l.Deadline.IsZero() {
			why.deadline = l.Deadline
		}
	case <-o.lost:
		why = leaving{cause: keystrand.ErrLost, lost: true}
	}
	return why, false
}

// commitLast commits the final progress, again if there may be room for more of it. It retries until the commit is stored, the
// partition is lost, or time is up. It first waits for a running commit, since only one may run at a time.
func (p *Pipeline) commitLast(ctx context.Context, pt *partition, why leaving, o *owner) {
	timeout := p.cfg.timing.CommitTimeout
	if !why.deadline.IsZero() {
		timeout = min(timeout, max(time.Until(why.deadline), 0))
	}
	ctx, cancel := context.WithTimeout(base(ctx), timeout)
	defer cancel()
	defer context.AfterFunc(p.ending.commits, cancel)() //nolint:contextcheck // the ctx of the end of Run
	over := make(chan struct{})
	go func() {
		defer close(over)
		cancelWhenLost(ctx, o, cancel)
	}()
	defer func() { cancel(); <-over }()

	if pt.divert != nil {
		defer func() {
			if pt.gate.await(ctx, pt.divert.quiet) == nil { // marks of an earlier commit
				p.saveMarks(ctx, pt)
			}
		}()
	}
	var err error
	left := int64(math.MaxInt64) // settled messages that the last commit did not store
	pt.commits.Leave()
	for pt.gate.await(ctx, pt.commits.Idle) == nil {
		if !pt.commits.DueLast(pt.tracker.State()) {
			return // everything is stored
		}
		failed := p.commitNow(ctx, pt)
		if errors.Is(failed, commit.ErrFenced) {
			return
		}
		if failed == nil {
			stored := pt.commits.Last().Stored
			if !stored.More || stored.Replays >= left {
				return
			}
			left = stored.Replays
			continue
		}
		if err == nil || ctx.Err() == nil {
			err = failed // the cause, not that time is up
		}
		if pause.For(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	if err == nil {
		err = context.Cause(ctx) // an earlier commit was under way all the time
	}
	p.report.collect(burstLastFailed, pt.id, err)
}

// cancelWhenLost calls cancel once the partition is lost or the source's deadline has passed: nothing can be stored
// after that.
func cancelWhenLost(ctx context.Context, o *owner, cancel func()) {
	var deadline <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-deadline:
			cancel()
			return
		case l := <-o.leaving:
			if l.Lost {
				cancel()
				return
			}
			if !l.Deadline.IsZero() {
				t := time.NewTimer(time.Until(l.Deadline))
				defer t.Stop() // runs once: a partition is revoked once
				deadline = t.C
			}
		}
	}
}
