// Package memory is a sink for tests that keeps messages in memory, in order. A test can read the stored messages back at any
// time. A [Fault] makes writes fail, block or lose their reply.
//
// The sink is not for production: it keeps every message until the process ends, and none beyond that.
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// ErrReplyLost makes a [Fault] that returns or wraps it simulate a connection that breaks before the reply: the message is
// stored but reported as not durable. The pipeline then writes the message again, and it is stored twice.
var ErrReplyLost = errors.New("memory: reply lost")

// Fault is called before each message is stored, from the goroutine of Write and without a lock. It may block, to simulate a
// slow store, and should then return when ctx ends. If it returns an error, Write reports the error, and stores neither the
// message nor the later messages of its key. Fault must not change the message.
type Fault func(ctx context.Context, m *keystrand.Message) error

// Sink keeps messages in memory. It is safe for concurrent use.
type Sink struct {
	mu     sync.Mutex
	fault  Fault
	stored []keystrand.Message
	open   int // number of open writers
	closed bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns an empty sink.
func New() *Sink { return &Sink{} }

// SetFault sets the Fault for the following Writes. A nil f removes it.
func (s *Sink) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Open returns a writer. It fails on a closed sink.
func (s *Sink) Open() (sink.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.open++
	return &writer{sink: s}, nil
}

// Messages returns all stored messages, in the order in which they were stored.
func (s *Sink) Messages() []keystrand.Message {
	return s.filter(func(*keystrand.Message) bool { return true })
}

// Partition returns the stored messages of one partition of a stream, in order.
func (s *Sink) Partition(stream string, partition int32) []keystrand.Message {
	return s.filter(func(m *keystrand.Message) bool { return m.Stream == stream && m.Partition == partition })
}

// Key returns the stored messages of all streams with this key, in order. It never returns messages without a key.
func (s *Sink) Key(key string) []keystrand.Message {
	return s.filter(func(m *keystrand.Message) bool { return m.Key != nil && string(m.Key) == key })
}

// Close closes the sink. The stored messages can still be read. Close fails while a writer is open.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.open > 0 {
		return fmt.Errorf("memory: close: %d writers are open: close them first", s.open)
	}
	s.closed = true
	return nil
}

func (s *Sink) filter(want func(*keystrand.Message) bool) []keystrand.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ms []keystrand.Message
	for i := range s.stored {
		if want(&s.stored[i]) {
			ms = append(ms, s.stored[i])
		}
	}
	return ms
}

func (s *Sink) currentFault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// store keeps a copy of m, because the caller reuses the messages.
func (s *Sink) store(m *keystrand.Message) {
	c := *m
	c.Headers = slices.Clone(m.Headers)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = append(s.stored, c)
}

func (s *Sink) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

var errClosed = errors.New("memory: the sink is already closed")
