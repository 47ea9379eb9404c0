package drc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// turn is the time in which this process is the active subscriber of a topic. It is held by a stream without records, beside those
// that have some. All streams of the subscriber end with it.
type turn struct {
	ctx   context.Context //nolint:containedctx // it ends with the turn, not with a call
	end   context.CancelCauseFunc
	began Record // the heartbeat with which it began
}

var errTurn = errors.New("this process is not the active subscriber any more")

// turnNow returns the current turn. If there is none, it waits for the next one.
func (l *log) turnNow(ctx context.Context) (*turn, error) {
	select {
	case l.taking <- struct{}{}:
		defer func() { <-l.taking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.closed.Err() != nil {
		return nil, errClosed
	}
	if l.turn != nil && l.turn.ctx.Err() == nil {
		return l.turn, nil
	}
	t := &turn{}
	t.ctx, t.end = context.WithCancelCause(l.closed)
	if err := l.take(ctx, t); err != nil {
		t.end(err)
		return nil, err
	}
	l.turn = t
	return t, nil
}

// take waits until this process is active. ctx bounds the wait, not the turn.
func (l *log) take(ctx context.Context, t *turn) error {
	stop := context.AfterFunc(ctx, func() { t.end(context.Cause(ctx)) })
	defer stop()
	hold, err := l.open(ctx, t.ctx, "none")
	if err != nil {
		return err
	}
	l.running.Go(func() { l.live(t) }) //nolint:contextcheck // until the turn ends
	defer l.waits.Store(false)
	for {
		r, err := hold.next()
		if err != nil {
			hold.close()
			return err
		}
		switch {
		case r.Type != Heartbeat:
		case r.State == Active:
			t.began = r.Record
			l.running.Go(func() { l.listen(t, hold) })
			return nil
		case !l.waits.Swap(true):
			l.cfg.Logger.InfoContext(ctx, "drc: waiting: another subscriber of the topic is active", slog.String("subscriber", l.subscriber))
		}
	}
}

// listen ends the turn when its stream ends.
func (l *log) listen(t *turn, hold *lines) {
	defer hold.close()
	for {
		r, err := hold.next()
		switch {
		case err != nil:
			t.end(fmt.Errorf("%w: %w", errTurn, err))
			return
		case r.Type == Heartbeat && r.State != Active:
			t.end(errTurn)
			return
		}
	}
}

// live tells the service that the subscriber lives, until the turn ends.
func (l *log) live(t *turn) {
	tick := time.NewTicker(l.cfg.Timeout / 3)
	defer tick.Stop()
	u := l.service.JoinPath("topics", l.topic, "subscribers", l.subscriber)
	heard := time.Now()
	for {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(t.ctx, l.cfg.Timeout/3)
		resp, err := l.do(ctx, http.MethodPost, u)
		cancel()
		_, answered := errors.AsType[*Error](err)
		switch {
		case err == nil:
			heard = time.Now()
			_ = resp.Body.Close() // it is empty
		case answered, time.Since(heard) >= l.cfg.Timeout:
			t.end(fmt.Errorf("%w: no sign of life has reached the service since %v: %w", errTurn, heard.UTC(), err))
			return
		}
	}
}

// close ends the turn. No other method is called any more.
func (l *log) close() {
	l.shut()
	l.running.Wait()
	l.cfg.Client.CloseIdleConnections()
}
