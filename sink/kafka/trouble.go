package kafka

import (
	"fmt"
	"sync"
	"time"
)

// trouble is why the messages of a running Write wait. Write changes it, and [Sink.Trouble] reads it.
type trouble struct {
	mu   sync.Mutex
	err  error               // the last transient error; guarded by mu
	sent map[int32]time.Time // when the request in flight to each leader was sent; guarded by mu
}

// slowAnswer is the time without an answer after which a request is trouble.
const slowAnswer = time.Second

func (t *trouble) set(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *trouble) sending(leader int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent == nil {
		t.sent = make(map[int32]time.Time)
	}
	t.sent[leader] = time.Now()
}

func (t *trouble) answered(leader int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sent, leader)
}

func (t *trouble) now() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for leader, at := range t.sent {
		if d := time.Since(at); d >= slowAnswer {
			return fmt.Errorf("kafka: broker %d has not answered a request to write for %v", leader, d.Round(time.Second))
		}
	}
	return t.err
}
