package pipeline

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// PausePartition stops fetching of a partition, owned now or later, until ResumePartition. What is in flight goes on, no
// other partition notices, and other owners know nothing of it: it lives in this process, through hand-overs, until it
// ends. It does not block, nor do the other methods of this kind.
func (p *Pipeline) PausePartition(stream string, partition int32) {
	p.setPaused(name{stream, partition}, true)
}

// ResumePartition ends a PausePartition; without one it does nothing.
func (p *Pipeline) ResumePartition(stream string, partition int32) {
	p.setPaused(name{stream, partition}, false)
}

func (p *Pipeline) setPaused(n name, paused bool) {
	p.mu.Lock()
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
	if pt != nil {
		pt.gate.poke()
	}
}

// awaitUnpaused blocks as long as the partition is paused.
func (pt *partition) awaitUnpaused(ctx context.Context) error {
	if !pt.paused.Load() {
		return nil
	}
	pt.waits.Store(int32(WaitPause))
	return pt.gate.await(ctx, func() bool { return !pt.paused.Load() })
}

// Resume lets a parked key try again now: one that the policy [Block] holds, or one that waits for a retry. It reports
// whether there was one, in a partition that is owned. lane is the text of its lane ([keystrand.Lane]), as the snapshot
// and the log print it: for ordinary keys the key itself. A program that has the bytes of a key passes
// keystrand.Lane(key).String(). The attempts of a blocked message are counted anew.
func (p *Pipeline) Resume(stream string, partition int32, lane string) bool {
	l, err := keystrand.ParseLane(lane)
	if err != nil {
		return false // the text names no lane, so none is parked
	}
	p.mu.Lock()
	pt := p.owned[name{stream, partition}]
	p.mu.Unlock()
	return pt != nil && pt.queue.Resume(string(l))
}

// ResumeAll lets all keys of a partition try again that the policy [Block] holds, also messages without a key, which
// Resume cannot name. It returns how many there were.
func (p *Pipeline) ResumeAll(stream string, partition int32) int {
	p.mu.Lock()
	pt := p.owned[name{stream, partition}]
	p.mu.Unlock()
	if pt == nil {
		return 0
	}
	return pt.queue.ResumeHeld()
}

// SetWorkers changes how many turns run at once, before Run or while it runs. More takes effect at once, fewer as turns
// end: none is cut short. n below 1 is an error and changes nothing.
func (p *Pipeline) SetWorkers(n int) error {
	if n <= 0 {
		return fmt.Errorf("pipeline: SetWorkers(%d): it must be positive", n)
	}
	return p.exec.SetWorkers(n)
}

// State is what a pipeline does.
type State uint8

// The states of a pipeline, in their order.
const (
	Built State = iota
	Running
	Stopping
	Stopped
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Built:
		return "built"
	case Running:
		return "running"
	case Stopping:
		return "stopping"
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Ready tells whether the pipeline runs and has come to own a partition at least once, or knows from its source that it
// takes part: what a readiness probe asks.
func (p *Pipeline) Ready() bool {
	p.mu.Lock()
	state, accepted := p.state, p.accepted
	p.mu.Unlock()
	if state != Running {
		return false
	}
	if r, ok := p.cfg.source.(source.Reporter); ok {
		return r.Report().Ready
	}
	return accepted
}
