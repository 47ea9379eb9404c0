package pulsar

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/pulsar-client-go/pulsar"
)

// link holds the producer of an outlet. It opens the next producer only after the last one is closed and cannot send any more.
// It is used from one goroutine. Blocking calls run in goroutines of the sink.
type link struct {
	producer producer      // nil if there is none
	opening  *opening      // the running call, or nil
	closing  chan struct{} // closed when the last producer is closed; nil if there is none to wait for
}

// opening is a call that opens a producer. Its result may be read after done is closed.
type opening struct {
	done     chan struct{}
	producer producer
	err      error
}

// get returns the producer. It opens one if there is none. If ctx ends first, the opening continues for the next call.
func (l *link) get(ctx context.Context, s *Sink, topic string) (producer, error) {
	if l.producer != nil {
		return l.producer, nil
	}
	if l.closing != nil {
		select {
		case <-l.closing:
			l.closing = nil
		case <-ctx.Done():
			return nil, fmt.Errorf("close the previous producer: %w", context.Cause(ctx))
		}
	}
	if l.opening == nil {
		o := &opening{done: make(chan struct{})}
		l.opening = o
		s.calls.Go(func() {
			defer close(o.done)
			o.producer, o.err = s.client.Produce(topic)
		})
	}
	select {
	case <-l.opening.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("open a producer: %w", context.Cause(ctx))
	}
	o := l.opening
	l.opening = nil
	if o.err != nil {
		return nil, fmt.Errorf("open a producer: %w", o.err)
	}
	l.producer = o.producer
	return l.producer, nil
}

// drop closes the producer in the background, even one that is still being opened.
func (l *link) drop(s *Sink) {
	p, o := l.producer, l.opening
	l.producer, l.opening = nil, nil
	if p == nil && o == nil {
		return
	}
	before, over := l.closing, make(chan struct{})
	l.closing = over
	s.calls.Go(func() {
		defer close(over)
		if before != nil {
			<-before
		}
		if o != nil {
			<-o.done
			p = o.producer
		}
		if p != nil {
			closeProducer(p)
		}
	})
}

// closeProducer closes p. It recovers from a panic of the library, which occurs if the producer closes itself at the same time.
func closeProducer(p producer) {
	defer func() { _ = recover() }() // a send on a closed channel: the producer is closed
	p.Close()
}

// sendAsync calls SendAsync and converts a panic to an error.
func sendAsync(ctx context.Context, p producer, m *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error)) (err error) {
	defer recovered(&err)
	p.SendAsync(ctx, m, done)
	return nil
}

// flush calls FlushWithCtx and converts a panic to an error.
func flush(ctx context.Context, p producer) (err error) {
	defer recovered(&err)
	return p.FlushWithCtx(ctx)
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: panic: %v", errClosed, r)
	}
}

// errNotSent marks a message that was left out of a wave because an earlier message of its key was refused.
var errNotSent = errors.New("not sent")
