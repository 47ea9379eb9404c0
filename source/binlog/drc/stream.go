package drc

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"time"
)

var (
	errTimedOut = errors.New("drc: no sign of life within the timeout")
	errEnded    = errors.New("drc: the stream has ended")
)

// subscriber is a client of a topic, with any number of streams. Its topic's mutex guards what is not constant.
type subscriber struct {
	name    string
	timeout time.Duration
	posts   bool        // it lives by posts; otherwise by reading what it is sent
	timer   *time.Timer // ends the subscriber

	streams []*stream
	turn    chan struct{} // closed once the subscriber is active
	expired bool
}

// alive notes a sign of life.
func (s *subscriber) alive() { s.timer.Reset(s.timeout) }

// stream is one response with records. One goroutine runs it.
type stream struct {
	topic      *topic
	selection  selection
	subscriber *subscriber
	cancel     context.CancelCauseFunc

	out   *bufio.Writer
	flush func() error

	begun  bool
	passed position // the last transaction that was sent, or has nothing to send
}

// run sends heartbeats, and records while the subscriber is active. It returns when ctx ends, a write fails, or the stream
// cannot go on. It owns the response until then.
func (s *stream) run(ctx context.Context) error {
	beat := time.NewTicker(s.subscriber.timeout / 3)
	defer beat.Stop()
	more := make(chan struct{})
	close(more)
	var told State
	for due := true; ; {
		v, failure := s.topic.view(s)
		if failure != nil {
			return errors.Join(failure, s.send(Record{Type: Failure, Error: failure}))
		}
		if due || v.state != told {
			due, told = false, v.state
			if err := s.heartbeat(v); err != nil {
				return err
			}
		}
		if len(v.transactions) > 0 {
			if err := s.write(v.transactions); err != nil {
				return err
			}
			v.changed = more
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			due = true
		case <-v.changed:
		}
	}
}

// commitEvery is the distance of commits that are sent although nothing of their transaction is selected. They are the same in
// all streams with the same selection, unlike heartbeats.
const commitEvery = 64

// write sends what is selected of the transactions, each with its commit.
func (s *stream) write(transactions []transaction) error {
	sent := false
	for _, tx := range transactions {
		number := s.passed + 1
		selected := number%commitEvery == 0
		for _, l := range tx.lines {
			if s.selection.sends(l.tables, number) {
				_, _ = s.out.Write(l.text) // a bufio.Writer keeps its first error
				selected = true
			}
		}
		if selected {
			_, _ = s.out.Write(tx.commit)
			sent = true
		}
		s.passed = number
	}
	if !sent {
		return nil
	}
	return s.flushed()
}

func (s *stream) heartbeat(v view) error {
	r := Record{
		Type: Heartbeat, Time: time.Now().UTC(), Subscriber: s.subscriber.name, State: v.state,
		Oldest: s.topic.checkpoint(v.oldest), End: s.topic.checkpoint(v.end),
	}
	if s.begun {
		r.Checkpoint = s.topic.checkpoint(s.passed)
	}
	return s.send(r)
}

func (s *stream) send(r Record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	_, _ = s.out.Write(text)
	return s.flushed()
}

func (s *stream) flushed() error {
	if err := errors.Join(s.out.Flush(), s.flush()); err != nil {
		return err
	}
	if !s.subscriber.posts {
		s.subscriber.alive()
	}
	return nil
}

// prepare makes writes to the response end with ctx, and sends the header.
func (s *stream) prepare(ctx context.Context, w http.ResponseWriter) (stop func() bool, err error) {
	c := http.NewResponseController(w)
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		return nil, err // a reader that has stopped would never be noticed
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Connection", "close") // its write deadline is not for another request
	s.out, s.flush = bufio.NewWriterSize(w, 32<<10), c.Flush
	return context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) }), nil
}
