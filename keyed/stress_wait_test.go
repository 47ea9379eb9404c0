// Virtual time: the bubble is in stress_test.go.
package keyed

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// stressWaits collects tokens to complete together.
type stressWaits struct {
	mu     sync.Mutex
	tokens []*stressWait // guarded by mu
}

// stressWait is the wait of one turn. Its marks are removed when Run has returned and Complete is about to be called,
// whichever is later. The executor cannot know of both before that.
type stressWait struct {
	token   Token[*stressed]
	result  Result
	pending atomic.Int32
	end     func()
}

func (w *stressWait) over() {
	if w.pending.Add(-1) == 0 {
		w.end()
	}
}

// await makes a turn wait for a token, and arranges its completion: in Run, or by another goroutine at once, later, or
// together with others. It returns a function to call when Run returns.
func (s *stress) await(turn *Turn[*stressed], x *stressed, p int, end func()) func() {
	w := &stressWait{end: end}
	w.pending.Store(2)
	w.token.Items = s.roll(x, 12) % (len(turn.Items) + 1)
	w.result = s.completed(x, len(turn.Items))
	turn.Await = &w.token
	switch {
	case p < 30:
		s.complete(w)
	case p < 70:
		s.rest.Go(func() { s.complete(w) })
	case p < 110:
		takes := time.Duration(s.roll(x, 13)*3) * time.Microsecond
		s.rest.Go(func() {
			time.Sleep(takes) // real time: a long operation
			s.complete(w)
		})
	default:
		s.waits.mu.Lock()
		s.waits.tokens = append(s.waits.tokens, w)
		s.waits.mu.Unlock()
	}
	if p%3 == 0 {
		runtime.Gosched()
	}
	return w.over
}

func (s *stress) completed(x *stressed, items int) Result {
	switch p := s.roll(x, 14); {
	case p < 700:
		return Result{Done: items}
	case p < 800:
		return Result{Done: p % (items + 1), Park: time.Duration(p) * time.Microsecond}
	case p < 850:
		return Result{Done: p % (items + 1), Hold: true}
	case p < 900:
		return Result{Next: Together(items)}
	default:
		return Result{Next: Singly(items)}
	}
}

func (s *stress) complete(waits ...*stressWait) {
	tokens := make([]*Token[*stressed], len(waits))
	for i, w := range waits {
		w.token.Result = w.result
		tokens[i] = &w.token
		w.over()
	}
	if err := s.e.Complete(tokens...); err != nil {
		s.t.Error(err)
	}
	s.steps.Add(1)
}

// completeBatches repeatedly completes the collected tokens.
func (s *stress) completeBatches(stop chan struct{}) {
	rnd := s.rand(100)
	for last := false; !last; {
		last = stopped(stop)
		s.waits.mu.Lock()
		waits := s.waits.tokens
		s.waits.tokens = nil
		s.waits.mu.Unlock()
		if len(waits) > 0 {
			s.complete(waits...)
		}
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond) // real time: lets tokens collect
	}
}
