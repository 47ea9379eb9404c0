package keyed

import "context"

// plenty is the number of ready lanes for each processor that is enough for short turns: a few claims of them.
const plenty = 4 * maxClaim

// AwaitDemand blocks while turns are short and more lanes are ready than workers claim soon. Submitting more would not
// make them faster: it would push the items about to run out of the processor's caches, which costs several times a
// short turn.
//
// While turns are long, AwaitDemand never blocks, because the scheduler chooses better among more lanes. It returns the
// cause of ctx if ctx ends first. It is safe to call from any goroutine, and meant for those that submit.
func (e *Executor[T]) AwaitDemand(ctx context.Context) error {
	e.mu.Lock()
	for e.suppliedLocked(plenty) {
		if e.demand == nil {
			e.demand = make(chan struct{})
		}
		demand := e.demand
		e.unlock()
		select {
		case <-demand:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		e.mu.Lock()
	}
	e.unlock()
	return nil
}

// suppliedLocked reports whether turns are short and more than this number of lanes for each processor are ready.
func (e *Executor[T]) suppliedLocked(lanes int) bool {
	return e.avg < shortTurn && e.ready.len() > lanes*e.procs && !e.closed
}

// demandLocked wakes the callers of AwaitDemand, some time before the workers run out of lanes.
func (e *Executor[T]) demandLocked() {
	if e.demand != nil && !e.suppliedLocked(plenty/2) {
		e.notes = append(e.notes, e.demand)
		e.demand = nil
	}
}
