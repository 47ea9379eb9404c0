package pipeline

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// PausePartition pauses the fetching of a partition, owned now or later, until ResumePartition. Messages in flight
// continue, and other partitions are not affected. The pause applies to this process only and survives hand-overs.
// PausePartition does not block, nor do the other methods for operators.
func (p *Pipeline) PausePartition(stream string, partition int32) {
	p.setPaused(name{stream, partition}, true)
}

// ResumePartition ends the pause of PausePartition. It has no effect on a partition that is not paused.
func (p *Pipeline) ResumePartition(stream string, partition int32) {
	p.setPaused(name{stream, partition}, false)
}

func (p *Pipeline) setPaused(n name, paused bool) {
	p.mu.Lock()
	changed := p.paused[n] != paused
	if paused {
		p.paused[n] = true
	} else {
		delete(p.paused, n)
	}
	pt := p.owned[n]
	if pt != nil {
		pt.paused.Store(paused)
	}
	p.mu.Unlock()
	if changed {
		e := Event{Kind: EventPaused, Partition: source.ID{Stream: n.stream, Partition: n.partition}}
		if !paused {
			e.Kind = EventUnpaused
		}
		p.report.tell(pt, e)
	}
	if pt != nil {
		pt.gate.poke()
	}
}

// awaitUnpaused blocks while the partition is paused.
func (pt *partition) awaitUnpaused(ctx context.Context) error {
	if !pt.paused.Load() {
		return nil
	}
	pt.waits.Store(int32(WaitPause))
	return pt.gate.await(ctx, func() bool { return !pt.paused.Load() })
}

// Resume retries a parked key now, whether the policy [Block] holds it or it waits for a retry. It reports whether the
// key was parked, in a partition that is owned. The attempts of a blocked message count from 1 again.
//
// lane is the text of the key's lane ([keystrand.Lane]) as the snapshot and the log print it; for ordinary keys it is
// the key itself. A program that has the bytes of a key passes keystrand.Lane(key).String().
func (p *Pipeline) Resume(stream string, partition int32, lane string) bool {
	l, err := keystrand.ParseLane(lane)
	if err != nil {
		return false // lane is not the text of a lane
	}
	p.mu.Lock()
	pt := p.owned[name{stream, partition}]
	p.mu.Unlock()
	if pt == nil || pt.divert != nil && pt.divert.isHeld(string(l)) {
		return false // ResumeHeld resumes held keys
	}
	if !pt.queue.Resume(string(l)) {
		return false
	}
	p.report.tell(pt, Event{Kind: EventResumed, Key: lane, Messages: 1})
	return true
}

// ResumeAll retries all keys of a partition that the policy [Block] holds, and returns their number. It includes
// messages without a key, which Resume cannot name.
func (p *Pipeline) ResumeAll(stream string, partition int32) int {
	p.mu.Lock()
	pt := p.owned[name{stream, partition}]
	p.mu.Unlock()
	if pt == nil {
		return 0
	}
	n := pt.queue.ResumeHeld()
	if pt.divert != nil {
		n = max(0, n-pt.divert.parked()) // their pumps go back to wait for an operator
	}
	if n > 0 {
		p.report.tell(pt, Event{Kind: EventResumed, Messages: int64(n)})
	}
	return n
}

// SetWorkers sets the maximum number of concurrent turns, before or during Run. A higher number takes effect at once, a
// lower one as turns end; no turn is interrupted. An n below 1 is an error and changes nothing.
func (p *Pipeline) SetWorkers(n int) error {
	if n <= 0 {
		return fmt.Errorf("pipeline: set workers: %d must be more than 0", n)
	}
	if err := p.exec.SetWorkers(n); err != nil {
		return err
	}
	p.report.tell(nil, Event{Kind: EventWorkers, Messages: int64(n)}, slog.Int("workers", n))
	return nil
}

// State is the state of a pipeline.
type State uint8

// The states of a pipeline, in their order.
const (
	Built State = iota
	Running
	Stopping
	Stopped
)

// String returns the state's name.
func (s State) String() string { return nameOf(s, "built", "running", "stopping", "stopped") }

// Ready reports whether the pipeline runs and has owned a partition at least once, or takes part according to its
// source, and whether all its sinks can be written. Use it for a readiness probe.
func (p *Pipeline) Ready() bool {
	p.mu.Lock()
	state, accepted := p.state, p.accepted
	p.mu.Unlock()
	if state != Running || !p.sinks.ready() {
		return false
	}
	if r, ok := p.cfg.source.(source.Reporter); ok {
		return r.Report().Ready
	}
	return accepted
}
