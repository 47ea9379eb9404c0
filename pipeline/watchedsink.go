package pipeline

import (
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/keystrand/keystrand/sink"
)

// watchedSink is a sink and what is known of its trouble.
type watchedSink struct {
	sink    sink.Sink
	letters bool
	name    string

	mu      sync.Mutex // guards the following
	x       *outlets   // nil until it is opened
	check   error      // why the last Check failed
	checked bool       // a Check has succeeded, or the sink has none
	since   time.Time  // when trouble of the sink was first seen, except that of its outlet; zero if there is none
	told    time.Time  // when the last line was logged
	open    bool       // the last line was about trouble
}

func (w *watchedSink) opened(x *outlets) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x != nil {
		w.x = x
	}
}

func (w *watchedSink) outlet() *outlets {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.x
}

// waiting reports whether the sink has outputs of a partition, and whether one of them is to be written.
func (w *watchedSink) waiting(pt *partition) (some, writable bool) {
	if x := w.outlet(); x != nil {
		return x.Waiting(pt.outputs)
	}
	return false, false
}

// outputs returns the number of outputs of a partition that the sink has.
func (w *watchedSink) outputs(pt *partition) (n int64) {
	if x := w.outlet(); x != nil {
		x.Find(pt.outputs, func(*output) bool { n++; return false })
	}
	return n
}

// recordCheck records the result of a Check.
func (w *watchedSink) recordCheck(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check, w.checked = err, err == nil
}

func sameSink(a, b sink.Sink) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

func nameOfSink(s sink.Sink) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T", s)
}

func (w *watchedSink) kind() string {
	if w.letters {
		return "dead-letter sink"
	}
	return "sink"
}

// trouble returns the trouble of a sink and reports whether there is one.
func (w *watchedSink) trouble(now time.Time) (SinkTrouble, bool) {
	var reported error
	if r, ok := w.sink.(sink.Reporter); ok {
		reported = readable(r.Trouble())
	}
	x, since, check := w.seen(reported, now)
	found := func(err error, since time.Time) (SinkTrouble, bool) {
		return SinkTrouble{Sink: w.name, DeadLetters: w.letters, Since: since, Err: err}, true
	}
	if x != nil {
		if t, ok := x.Trouble(); ok {
			return found(t.Err, t.Since)
		}
	}
	if reported != nil && now.Sub(since) >= sinkHeal {
		return found(reported, since)
	}
	if x != nil {
		if at := x.Writing(); !at.IsZero() && now.Sub(at) >= sinkSlow {
			return found(errSlowWrite, at)
		}
	}
	if check != nil {
		return found(check, since)
	}
	return SinkTrouble{}, false
}

// seen records since when the sink reports trouble or cannot be checked.
func (w *watchedSink) seen(reported error, now time.Time) (x *outlets, since time.Time, check error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reported == nil && w.check == nil {
		w.since = time.Time{}
	} else if w.since.IsZero() {
		w.since = now
	}
	return w.x, w.since, w.check
}

var errSlowWrite = fmt.Errorf("a Write has not returned for more than %v", sinkSlow)
