package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
)

// ending bounds the end of Run.
type ending struct {
	busy atomic.Int64 // partitions whose handlers, or Writes of their outputs, have not ended
	idle *gate        // waits for busy to become 0
	late atomic.Int64 // how long the last of them to end waited for nothing but sinks in trouble

	commits, releases       context.Context //nolint:containedctx // end the last commits and the releases of all partitions
	endCommits, endReleases context.CancelFunc
}

func newEnding() *ending {
	e := &ending{idle: newGate()}
	e.commits, e.endCommits = context.WithCancel(context.Background())
	e.releases, e.endReleases = context.WithCancel(context.Background())
	return e
}

func (e *ending) begins() { e.busy.Add(1) }

// ends records the end of a partition that has waited for nothing but sinks in trouble for so long, 0 if it has not.
func (e *ending) ends(late time.Duration) {
	e.late.Store(int64(late))
	e.busy.Add(-1)
	e.idle.poke()
}

// awaitEnd waits until run has returned, which ends the ctx ended. Once stopping has ended and no handler and no Write is
// left, it waits for at most CloseTimeout, and returns the calls that are to be abandoned. If the last partition waited for sinks
// in trouble, that time counts, up to half of CloseTimeout: brokers that hang are often those of the source. It never gives up a
// handler or a Write: an output stored later would overtake those of the next owner.
func (p *Pipeline) awaitEnd(ended, stopping context.Context) (abandoned []string) {
	select {
	case <-ended.Done():
		return nil
	case <-stopping.Done():
	}
	p.calls.stopped()
	p.ending.late.Store(0) // of a rebalance
	if p.ending.idle.await(ended, func() bool { return p.ending.busy.Load() == 0 }) != nil {
		return nil
	}
	limit := p.cfg.timing.CloseTimeout
	limit -= min(time.Duration(p.ending.late.Load()), limit/2)
	for _, step := range []struct {
		wait time.Duration
		then func()
	}{
		{limit * 3 / 5, p.ending.endCommits}, // so that there is time to release
		{limit / 5, p.ending.endReleases},    // and to close
		{limit / 5, func() {}},
	} {
		if pause.For(ended, step.wait) != nil {
			return nil
		}
		step.then()
	}
	for {
		if abandoned = p.calls.hanging(limit / 10); len(abandoned) > 0 {
			return abandoned
		}
		if pause.For(ended, reportTick) != nil {
			return nil // nothing but the pipeline itself was waited for, such as its logger
		}
	}
}

// The calls of the source that Run waits for.

// accept calls Accept in a goroutine of its own, so that one that calls runtime.Goexit is an error: the end of run's
// goroutine would leave the handlers of the partitions running.
func (p *Pipeline) accept(run context.Context) (sp source.Partition, err error) {
	defer p.calls.beginWait("Accept of the source")()
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = errAcceptExited
		sp, err = p.cfg.source.Accept(run)
	}()
	<-over
	return sp, err
}

var errAcceptExited = errors.New("the source called runtime.Goexit: it must return")

func (p *Pipeline) limitPrefetch() {
	if f, ok := p.cfg.source.(source.Prefetcher); ok {
		defer p.calls.begin("LimitPrefetch of the source")()
		f.LimitPrefetch(p.cfg.limits.PrefetchBytes)
	}
}

func (p *Pipeline) stopSource() {
	if s, ok := p.cfg.source.(source.Stopper); ok {
		defer p.calls.begin("Stop of the source")()
		s.Stop()
	}
}

func (p *Pipeline) watch(pt *partition) {
	defer p.calls.begin("Leaving of " + pt.id.String())()
	p.watchers.add(pt)
}

func (p *Pipeline) closeSource() error {
	defer p.calls.begin("Close of the source")()
	return p.cfg.source.Close()
}
