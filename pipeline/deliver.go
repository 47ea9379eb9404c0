package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// passLocked queues an event for OnEvent.
func (r *reporter) passLocked(e Event) {
	if len(r.queue) == mostWaiting {
		r.missed++
		return
	}
	r.queue = append(r.queue, e)
	select {
	case r.news <- struct{}{}:
	default: // deliver knows
	}
}

// deliver is the goroutine that calls OnEvent. It ends when stop is closed and the events of before are delivered.
func (r *reporter) deliver(ctx context.Context, stop <-chan struct{}) {
	for over := false; !over; {
		select {
		case <-r.news:
		case <-stop:
			over = true
		}
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		for len(queue) > 0 {
			ended := make(chan struct{})
			go func() { // its own goroutine, which the callback may end
				defer close(ended)
				for len(queue) > 0 {
					e := queue[0]
					queue = queue[1:]
					r.pass(ctx, e)
				}
			}()
			<-ended
		}
	}
}

// logMissed logs events that OnEvent did not get, because it is too slow, once a minute.
func (r *reporter) logMissed(ctx context.Context, now time.Time) {
	if now.Before(r.missedAt) {
		return
	}
	r.mu.Lock()
	missed := r.missed
	r.missed = 0
	r.mu.Unlock()
	if missed > 0 {
		r.missedAt = now.Add(statusRepeat)
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "OnEvent is too slow; events left out", slog.Int("n", missed))
	}
}

// pass calls OnEvent.
func (r *reporter) pass(ctx context.Context, e Event) {
	defer r.p.calls.begin("OnEvent")()
	cause := errEventExited
	defer func() {
		if v := recover(); v != nil {
			cause = fmt.Errorf("panic: %v", v)
		}
		if cause != nil {
			r.p.log.LogAttrs(ctx, slog.LevelError, "OnEvent failed; events go on", slog.String("event", e.Kind.String()), slog.Any("error", cause))
		}
	}()
	r.p.cfg.onEvent(e)
	cause = nil
}

var errEventExited = errors.New("it called runtime.Goexit: it must return")
