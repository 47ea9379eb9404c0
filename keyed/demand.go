package keyed

import "context"

// plenty is how many ready lanes for each processor are more than short turns need: some claims of them.
const plenty = 4 * maxClaim

// AwaitDemand blocks while turns are short and more lanes are ready than workers will take within some claims. Handing
// in more would not make them faster: it would only push what they are about to run out of the processor's caches,
// which costs several times what a short turn does. While turns are long it never blocks: then what waits is what the
// choice of the next lane can choose from. It returns the cause of ctx when that ended first.
//
// Safe to call from any goroutine; meant for those that submit.
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

// suppliedLocked tells whether more than so many lanes a processor are ready for turns that are short.
func (e *Executor[T]) suppliedLocked(lanes int) bool {
	return e.avg < shortTurn && e.ready.len() > lanes*e.procs && !e.closed
}

// demandLocked notes those who wait in AwaitDemand to be woken, some time before the workers run dry.
func (e *Executor[T]) demandLocked() {
	if e.demand != nil && !e.suppliedLocked(plenty/2) {
		e.notes = append(e.notes, e.demand)
		e.demand = nil
	}
}
