package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// Stuck is an abandoned handler: it had not returned after its ctx ended.
type Stuck struct {
	Partition source.ID
	Key       string // text of its lane (keystrand.Lane), as in the snapshot
}

// StuckError is the error of Run when handlers or calls of the source or the sink were abandoned. Their goroutines live
// until they return.
type StuckError struct {
	// Handlers were abandoned by [Builder.AbandonStuck]. Their messages are not settled: the next owner of the partition
	// handles them again.
	Handlers []Stuck
	// Calls had not returned Timing.CloseTimeout after the end of the last handler, such as "Close of the source". The
	// partition of such a call is released, and the source closed, when the call returns.
	Calls []string
}

// Error names the handlers and the calls.
func (e *StuckError) Error() string {
	var parts []string
	if len(e.Handlers) > 0 {
		parts = append(parts, e.handlers())
	}
	if n := len(e.Calls); n > 0 {
		parts = append(parts, fmt.Sprintf("pipeline: abandoned %d calls that did not return in time after the stop (make them return when ctx ends): %s",
			n, listOf(e.Calls)))
	}
	return strings.Join(parts, "; ")
}

func (e *StuckError) handlers() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline: abandoned %d handlers that did not return after cancel (make them return when ctx ends):", len(e.Handlers))
	for i, s := range e.Handlers {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", len(e.Handlers)-i)
			break
		}
		fmt.Fprintf(&b, " %v key %s", s.Partition, s.Key)
	}
	return b.String()
}

// abandon records the keys whose handlers still run when their partition is released.
func (p *Pipeline) abandon(pt *partition, keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		p.stuck = append(p.stuck, Stuck{pt.id, key})
	}
}

// stuckError returns a *StuckError if calls or handlers were abandoned, even if they have returned since.
func (p *Pipeline) stuckError(calls []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stuck) == 0 && len(calls) == 0 {
		return nil
	}
	return &StuckError{slices.Clone(p.stuck), calls}
}

// running returns the texts of the lanes whose handlers of this epoch run, even if a later epoch has opened the lanes.
// It visits all lanes, so it is for logs only.
func (p *Pipeline) running(pt *partition) (keys []string) {
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		if l.State == keyed.Running && l.Head.Epoch == pt.id.Epoch {
			keys = append(keys, strings.Clone(laneText(l)))
		}
		return true
	})
	return keys
}
