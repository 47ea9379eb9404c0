package pulsar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/sink"
)

var (
	_ sink.Checker  = (*Sink)(nil)
	_ sink.Reporter = (*Sink)(nil)
)

// String returns the name of the sink in logs and snapshots.
func (s *Sink) String() string {
	if s.topic == "" {
		return "pulsar topics by stream"
	}
	return "pulsar topic " + s.topic
}

// Check implements [sink.Checker]: the topic exists, and the broker lets this client open a producer to its first partition.
// If the broker may create topics, that creates a missing one. With Config.ByStream it checks nothing.
func (s *Sink) Check(ctx context.Context) error {
	switch {
	case s.closed.Load():
		return errors.New("pulsar: Check on a closed sink")
	case s.topic == "":
		return nil
	}
	began := time.Now()
	err := s.check(ctx)
	if err == nil {
		return nil
	}
	c := cureFor(err)
	err = s.describe(s.topic, began, err)
	if c == forbid || c == report && !passes(err) {
		return keystrand.Permanent(err)
	}
	return err
}

func (s *Sink) check(ctx context.Context) error {
	t, err := s.catalog.get(ctx, s.topic)
	if err != nil {
		s.catalog.doubt(s.topic)
		return err
	}
	select {
	case l := <-s.probe: // a call of the library may still run for an earlier Check
		defer func() { s.probe <- l }()
		if _, err := l.get(ctx, s, t.partitions[0]); err != nil {
			return err
		}
		l.drop(s)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// passes reports whether an error that a Write returns at once may pass without a change of the topic or the credentials: a
// limit of the namespace, for example of its producers.
func passes(err error) bool { return strings.Contains(err.Error(), "NotAllowedError") }

// describe adds the topic to err, and the reason of the library's last failed connection. It marks errors that concern the
// topic with [sink.ErrDestination].
func (s *Sink) describe(name string, began time.Time, err error) error {
	c := cureFor(err)
	if why := s.troubles.since(began); why != nil && c == heal {
		err = fmt.Errorf("%w: %w", err, why)
		c = cureFor(err)
	}
	if c == forbid || c == report && !passes(err) {
		switch text := err.Error(); {
		case strings.Contains(text, "TopicNotFound"):
			err = fmt.Errorf("the topic or its namespace does not exist: create it, or let the broker create topics: %w", err)
		case strings.Contains(text, "AuthorizationError"):
			err = fmt.Errorf("no permission: grant the role the action produce: %w", err)
		}
		err = destinationError{err}
	}
	return describeOne(name, pulsarname.Advise(err))
}

// destinationError marks err with [sink.ErrDestination], without a change of its text.
type destinationError struct{ error }

func (e destinationError) Unwrap() []error { return []error{e.error, sink.ErrDestination} }

// Trouble implements [sink.Reporter]. A failed connection counts while a Write waits for it.
func (s *Sink) Trouble() error {
	s.mu.Lock()
	writers := slices.Clone(s.writers)
	s.mu.Unlock()
	for _, w := range writers {
		if err := w.trouble(); err != nil {
			return err
		}
	}
	return nil
}

// question is a request without an answer yet.
type question struct{ name, lacks string } // name of a topic or partition

// What a Write waits for.
const (
	lacksPartitions   = "look up the partitions: no answer"
	lacksProducer     = "open a producer: no answer"
	lacksConfirmation = "no confirmation"
)

// trouble returns why the messages of the running Write wait.
func (w *writer) trouble() error {
	began, err := w.waits.Err()
	if began.IsZero() || err != nil {
		return err
	}
	if why := w.sink.troubles.since(began); why != nil {
		return fmt.Errorf("pulsar: connect: %w", why)
	}
	if q, d, late := w.waits.Late(); late {
		return fmt.Errorf("pulsar: write to %s: %s from the broker for %v", q.name, q.lacks, d)
	}
	return nil
}
