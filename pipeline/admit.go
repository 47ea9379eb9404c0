package pipeline

import (
	"context"
)

// Wait is what the fetching of a partition waits for.
type Wait int32

// What fetching can wait for.
const (
	WaitNone    Wait = iota // nothing: it fetches
	WaitSource              // the source's next message
	WaitPause               // an operator, who paused the partition
	WaitReplay              // commits: Limits.MaxReplay settled messages stand beyond what they can express
	WaitBudget              // Limits.InFlight or InFlightBytes
	WaitKey                 // a key that has more than Limits.KeyShare messages waiting
	WaitWorkers             // workers, which have enough to do for the next moment
)

// String says what is waited for.
func (w Wait) String() string {
	switch w {
	case WaitNone:
		return "nothing"
	case WaitSource:
		return "the source"
	case WaitPause:
		return "an operator's pause"
	case WaitReplay:
		return "MaxReplay"
	case WaitBudget:
		return "the budget"
	case WaitKey:
		return "KeyShare"
	case WaitWorkers:
		return "workers"
	}
	return "unknown"
}

// admit blocks until the partition may fetch another batch. It looks at one reason after the other, so a reason that
// returns meanwhile can let one batch through: the bounds allow for it.
func (p *Pipeline) admit(ctx context.Context, pt *partition) error {
	for _, reason := range []struct {
		wait  Wait
		await func() error
	}{
		{WaitPause, func() error { return pt.gate.await(ctx, func() bool { return !pt.paused.Load() }) }},
		{WaitReplay, func() error { return pt.gate.await(ctx, func() bool { return p.replayable(pt) > 0 }) }},
		{WaitKey, func() error { return pt.queue.AwaitShare(ctx) }},
		{WaitBudget, func() error { return p.budget.Await(ctx, pt.share) }},
		{WaitWorkers, func() error { return p.exec.AwaitDemand(ctx) }},
	} {
		pt.waits.Store(int32(reason.wait))
		if err := reason.await(); err != nil {
			return err
		}
	}
	pt.waits.Store(int32(WaitSource))
	return nil
}

// replayable tells how many messages may be fetched before a crash could replay too many. What is under way counts, since
// it may settle ahead of the frontier at any moment: a partition that waits only once too much has settled would exceed
// the bound by all that was in flight.
func (p *Pipeline) replayable(pt *partition) int64 {
	s := pt.tracker.State()
	return int64(p.cfg.limits.MaxReplay) - s.Pending - min(s.Ahead, pt.commits.Beyond(s))
}

// needsCommit tells whether the partition should not wait for the next tick: half of MaxReplay is used, and a commit
// gives some of it back.
func (p *Pipeline) needsCommit(pt *partition) bool {
	half := int64(p.cfg.limits.MaxReplay) / 2
	return p.replayable(pt) <= half && pt.commits.Gainable(pt.tracker.State()) >= half/2
}
