package pipeline

import (
	"fmt"
	"strings"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// Stuck is a handler that was given up: it had not returned although its ctx had ended.
type Stuck struct {
	Partition source.ID
	Key       string // of its lane
}

// StuckError is what Run returns when handlers were given up, see [Builder.AbandonStuck]. Their goroutines live until
// they return. Their messages are not settled: the next owner of the partition handles them again.
type StuckError struct{ Handlers []Stuck }

// Error names the handlers.
func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline: %d handlers ignored the end of their ctx and were given up (make them return when it ends):", len(e.Handlers))
	for i, s := range e.Handlers {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", len(e.Handlers)-i)
			break
		}
		fmt.Fprintf(&b, " %v key %.64q", s.Partition, s.Key)
	}
	return b.String()
}

// abandon notes that the partition is let go although these keys' handlers run.
func (p *Pipeline) abandon(pt *partition, keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		p.stuck = append(p.stuck, Stuck{pt.id, key})
	}
}

// stuckError returns a *StuckError if handlers were given up, whether or not they have returned since.
func (p *Pipeline) stuckError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stuck) == 0 {
		return nil
	}
	return &StuckError{p.stuck}
}

// running returns the keys whose handlers run in this epoch, also when a later one has opened the lanes meanwhile. A scan
// over the lanes: for logs only.
func (p *Pipeline) running(pt *partition) (keys []string) {
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		if l.State == keyed.Running && l.Head.Epoch == pt.id.Epoch {
			keys = append(keys, strings.Clone(l.Key))
		}
		return true
	})
	return keys
}
