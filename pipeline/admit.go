package pipeline

import (
	"context"
)

// Wait says why the fetching of a partition waits.
type Wait int32

// Reasons for fetching to wait.
const (
	WaitNone    Wait = iota // it does not wait
	WaitSource              // for the source's next message
	WaitPause               // for ResumePartition: an operator has paused the partition
	WaitReplay              // for commits: a crash could replay Limits.MaxReplay messages
	WaitBudget              // for the budget: Limits.InFlight or InFlightBytes
	WaitKey                 // for a key that has more than Limits.KeyShare messages waiting
	WaitWorkers             // for workers, which have enough ready messages
	WaitDivert              // for the store of diverted keys: it is slow or fails, or Limits.DivertBytes is used up
)

// String returns the reason, such as "the budget".
func (w Wait) String() string {
	return nameOf(w, "nothing", "the source", "an operator's pause", "MaxReplay", "the budget", "KeyShare", "workers", "the store of diverted keys")
}

// admit blocks until the partition may fetch another batch. It checks the reasons one after the other. An earlier
// reason may recur meanwhile and let one batch through; the limits allow for that.
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
		{WaitDivert, func() error {
			if pt.divert == nil {
				return nil
			}
			return pt.gate.await(ctx, pt.divert.hasRoom)
		}},
	} {
		pt.waits.Store(int32(reason.wait))
		if err := reason.await(); err != nil {
			return err
		}
	}
	pt.waits.Store(int32(WaitSource))
	return nil
}

// replayable returns how many messages may be fetched before a crash could replay too many. It counts pending messages,
// since each may settle ahead of the frontier at any moment. Otherwise a partition could exceed the limit by all its
// messages in flight.
func (p *Pipeline) replayable(pt *partition) int64 {
	s := pt.tracker.State()
	return int64(p.cfg.limits.MaxReplay) - s.Pending - min(s.Ahead, pt.commits.Beyond(s))
}

// needsCommit reports whether the partition should commit before the next tick: half of MaxReplay is used, and a commit
// would free some of it, or a diverted key waits for a commit.
func (p *Pipeline) needsCommit(pt *partition) bool {
	if pt.divert != nil && pt.divert.wanted.Load() {
		return true
	}
	half := int64(p.cfg.limits.MaxReplay) / 2
	return p.replayable(pt) <= half && pt.commits.Gainable(pt.tracker.State()) >= half/2
}
