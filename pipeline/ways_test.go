package pipeline_test

import (
	"context"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
)

// ways is a sink that records which writer each key goes to.
type ways struct {
	*sinkmemory.Sink
	mu  sync.Mutex
	n   int
	of  map[string]int // writer by key
	bad map[int]bool   // writers that have received a bad message
}

// way is a writer of ways.
type way struct {
	sink.Writer
	to *ways
	n  int
}

func (w *ways) Open() (sink.Writer, error) {
	x, err := w.Sink.Open()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return &way{x, w, w.n}, err
}

// held reports whether the key's writer has received a bad message.
func (w *ways) held(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bad[w.of[key]]
}

func (w *way) Write(ctx context.Context, ms []keystrand.Message) error {
	w.to.mu.Lock()
	for i := range ms {
		w.to.of[string(ms[i].Key)] = w.n
		if bad(&ms[i]) {
			w.to.bad[w.n] = true
		}
	}
	w.to.mu.Unlock()
	return w.Writer.Write(ctx, ms)
}
