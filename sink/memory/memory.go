// Package memory is a sink that keeps what it is given, in order, for tests: whatever a Write reported as durable can be
// read back at once, and a hook makes writes fail, wait or lose their reply.
//
// It does not promise anything beyond the end of the process, and it never forgets, so it is no place for production.
package memory

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// ErrReplyLost is what a [Fault] returns, or wraps, to store the message and report it as not durable all the same, as
// after a connection that broke before the reply. The message is then written again and stored twice.
var ErrReplyLost = errors.New("memory: reply lost")

// Fault is called before a message is stored, from the goroutine of Write and without a lock. It may block, to play a
// slow store, and should then end with ctx. Its error is reported for the message, which is not stored; the messages
// of the same key behind it are not stored either. It must not change the message.
type Fault func(ctx context.Context, m *keystrand.Message) error

// Sink keeps messages. It is safe for concurrent use.
type Sink struct {
	mu     sync.Mutex
	fault  Fault
	stored []keystrand.Message
	open   int // writers
	closed bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns an empty sink.
func New() *Sink { return &Sink{} }

// SetFault makes f judge the messages written from now on; nil ends that.
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

// Messages returns all that is stored, in the order in which it became durable; hence in order for each key, and for
// each stream and partition.
func (s *Sink) Messages() []keystrand.Message {
	return s.filter(func(*keystrand.Message) bool { return true })
}

// Partition returns what is stored for one partition of a stream, in order.
func (s *Sink) Partition(stream string, partition int32) []keystrand.Message {
	return s.filter(func(m *keystrand.Message) bool { return m.Stream == stream && m.Partition == partition })
}

// Key returns what is stored for one key, in order, whatever its stream. Messages without a key are in no answer.
func (s *Sink) Key(key string) []keystrand.Message {
	return s.filter(func(m *keystrand.Message) bool { return m.Key != nil && string(m.Key) == key })
}

// Close ends the sink; what is stored can still be read. It fails while a writer is open.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.open > 0 {
		return errors.New("memory: sink closed before its writers")
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

// store keeps a copy: the caller uses its messages again.
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

var errClosed = errors.New("memory: sink is closed")
