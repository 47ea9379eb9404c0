package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/sink"
)

// SinkTrouble is a sink that cannot be written now. The pipeline retries until it can, unless the sink refuses for good.
type SinkTrouble struct {
	Sink        string    // its String method, or its type
	DeadLetters bool      // it is a sink of dead letters
	Since       time.Time // when the trouble began
	Err         error
}

// UnwrittenError is the error of Run when it has stopped while a sink could not be written because of its destination
// ([sink.ErrDestination]): the topic is missing, for example. The messages of these outputs are not settled, and are
// redelivered.
type UnwrittenError struct {
	Outputs int64 // outputs and dead letters that were not written
	Err     error
}

// Error returns the number of outputs and the cause.
func (e *UnwrittenError) Error() string {
	return fmt.Sprintf("pipeline: stopped with %d outputs not written; their messages will be redelivered: %v", e.Outputs, e.Err)
}

// Unwrap returns the error of the sink.
func (e *UnwrittenError) Unwrap() error { return e.Err }

const (
	sinkTick  = 500 * time.Millisecond // between two looks at the sinks
	sinkHeal  = time.Second            // trouble that the sink reports of a running Write counts after it
	sinkSlow  = 10 * time.Second       // a Write that takes longer is trouble
	sinkRelog = time.Minute            // between two lines about the same trouble
	sinkGrace = 2 * time.Second        // a stop waits this long for nothing but sinks in trouble
)

// sinks watches the sinks of a pipeline.
//
// Owns, while Run runs, a goroutine that logs, and one for each sink that is being checked.
type sinks struct {
	p     *Pipeline
	start func(func(context.Context)) // starts a goroutine that ends with Run; set by Run
	news  chan struct{}               // capacity 1: there may be something to log

	mu        sync.Mutex
	all       []*watchedSink // guarded by mu
	unwritten UnwrittenError // guarded by mu
}

// add begins to watch a sink. An outlet that is nil is set by a later call.
func (s *sinks) add(to sink.Sink, letters bool, x *outlets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		if w.letters == letters && sameSink(w.sink, to) {
			w.opened(x)
			return
		}
	}
	w := &watchedSink{sink: to, letters: letters, name: nameOfSink(to), x: x}
	s.all = append(s.all, w)
	c, ok := to.(sink.Checker)
	if w.checked = !ok; ok {
		s.start(func(ctx context.Context) { s.checkUntilGood(ctx, w, c) })
	}
}

// addLetters watches the dead-letter sinks of a policy and of its fallbacks, as far as DeadLetter has made them.
func (s *sinks) addLetters(p Policy) {
	for p != nil {
		box := boxOf(p)
		if box == nil {
			return
		}
		s.add(box.sink, true, nil)
		p = box.fallback
	}
}

// checkUntilGood checks a sink until it can be written, ctx ends, or it can never be written, which ends Run.
func (s *sinks) checkUntilGood(ctx context.Context, w *watchedSink, c sink.Checker) {
	for timeout := 1500 * time.Millisecond; ; timeout = min(2*timeout, sinkSlow) {
		err := s.check(ctx, timeout, w, c)
		if ctx.Err() != nil {
			return // the end of ctx is no trouble
		}
		w.recordCheck(err)
		if err == nil {
			return
		}
		if outcome, _ := keystrand.OutcomeOf(err); outcome == keystrand.OutcomePermanent {
			s.p.failed(fmt.Errorf("pipeline: check the %s: %w", w.kind(), err))
			return
		}
		s.log(ctx)
		_ = pause.For(ctx, time.Second) // the next check fails at once if ctx has ended
	}
}

// check calls Check in a goroutine of its own, so that one that calls runtime.Goexit is an error. It waits for a Check that
// ignores the end of its ctx, which is trouble meanwhile.
func (s *sinks) check(ctx context.Context, timeout time.Duration, w *watchedSink, c sink.Checker) (err error) {
	try, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = errCheckExited
		err = readable(c.Check(try))
	}()
	select {
	case <-over:
		return err
	case <-try.Done():
	}
	defer s.p.calls.begin("Check of the " + w.kind())()
	grace := time.NewTimer(sinkTick / 5) // its error may tell more than that time is up
	defer grace.Stop()
	select {
	case <-over:
		return err
	case <-grace.C:
	}
	if ctx.Err() == nil {
		cause := context.Cause(try)
		w.recordCheck(cause)
		s.failing(cause)
	}
	<-over
	return err
}

var errCheckExited = errors.New("pipeline: Check of the sink called runtime.Goexit: it must return")

// watch logs the trouble of sinks until ctx ends.
func (s *sinks) watch(ctx context.Context) {
	tick := time.NewTicker(sinkTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.news:
		}
		s.log(ctx)
	}
}

// failing makes watch log soon. Outlets call it when Writes begin to fail.
func (s *sinks) failing(error) {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// log logs sinks whose trouble begins, lasts or has ended.
func (s *sinks) log(ctx context.Context) {
	now := time.Now()
	for _, w := range s.watched() {
		t, troubled := w.trouble(now)
		w.mu.Lock()
		open := w.open
		switch quiet := now.Sub(w.told); {
		case troubled && (open && quiet < sinkRelog || !open && quiet < 5*time.Second):
			w.mu.Unlock()
			continue
		case troubled:
			w.open, w.told = true, now
		default:
			w.open = false
		}
		w.mu.Unlock()
		attrs := []slog.Attr{slog.String("sink", w.name), slog.Bool("dead_letters", w.letters)}
		switch {
		case troubled:
			s.p.log.LogAttrs(ctx, slog.LevelWarn, "sink write failed; retrying", append(attrs, loggedError(t.Err), slog.Duration("for", now.Sub(t.Since).Round(time.Millisecond)))...)
		case open:
			s.p.log.LogAttrs(ctx, slog.LevelInfo, "sink recovered", attrs...)
		}
	}
}

func (s *sinks) watched() []*watchedSink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// troubles returns the sinks that cannot be written now.
func (s *sinks) troubles() (all []SinkTrouble) {
	now := time.Now()
	for _, w := range s.watched() {
		if t, ok := w.trouble(now); ok {
			all = append(all, t)
		}
	}
	return all
}

// ready reports whether all sinks are checked and none is in trouble.
func (s *sinks) ready() bool {
	for _, w := range s.watched() {
		w.mu.Lock()
		checked := w.checked
		w.mu.Unlock()
		if _, troubled := w.trouble(time.Now()); troubled || !checked {
			return false
		}
	}
	return true
}

// blockage is how long a partition that drains has waited for nothing but sinks in trouble.
type blockage struct {
	since    time.Time // zero if it does not
	patience time.Duration
	pending  int64 // outputs then
}

// block reports whether a partition that drains waits only for outputs that are not going to be written: they are refused for
// good, or their sinks have been in trouble for some time. b is the caller's, and is kept from call to call. A sink whose Write
// was cancelled, for another partition that has given up, shows no trouble until the next one lasts: it is over only when
// outputs are written.
func (s *sinks) block(pt *partition, b *blockage) bool {
	patience, blocked := s.patience(pt)
	switch pending := pt.outputs.Pending(); {
	case blocked:
		if b.since.IsZero() {
			b.since = time.Now()
		}
		b.patience, b.pending = patience, pending
	case pending == 0 || pending != b.pending || pt.queue.Counts().Running > 0:
		*b = blockage{}
	}
	return !b.since.IsZero() && time.Since(b.since) >= b.patience
}

// patience returns how long a partition that drains waits for its outputs if only sinks in trouble are left to wait for; 0 if
// all outputs are refused for good.
func (s *sinks) patience(pt *partition) (patience time.Duration, blocked bool) {
	if pt.outputs.Pending() == 0 || pt.queue.Counts().Running > 0 {
		return 0, false
	}
	for _, w := range s.watched() {
		some, writable := w.waiting(pt)
		blocked = blocked || some
		if !writable {
			continue
		}
		switch t, troubled := w.trouble(time.Now()); {
		case !troubled:
			return 0, false
		case errors.Is(t.Err, sink.ErrDestination):
			patience = max(patience, sinkGrace/4) // for outputs to other topics
		default:
			patience = sinkGrace
		}
	}
	return patience, blocked
}

// dropped records the outputs of a partition that a stop drops because of their destination.
func (s *sinks) dropped(pt *partition) {
	for _, w := range s.watched() {
		t, troubled := w.trouble(time.Now())
		if !troubled || !errors.Is(t.Err, sink.ErrDestination) {
			continue
		}
		if n := w.outputs(pt); n > 0 {
			s.mu.Lock()
			s.unwritten.Outputs += n
			s.unwritten.Err = t.Err
			s.mu.Unlock()
		}
	}
}

// err returns an UnwrittenError if outputs were dropped because of their destination.
func (s *sinks) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwritten.Outputs == 0 {
		return nil
	}
	return &s.unwritten
}
