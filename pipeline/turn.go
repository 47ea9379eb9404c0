package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
)

// turn is Config.Run of the executor. It runs the handler chain for a lane's first items and converts its error to the
// turn's Result.
func (p *Pipeline) turn(t *keyed.Turn[item]) keyed.Result {
	pt, _ := t.Queue.Data().(*partition)
	if len(t.Items) > 1 {
		t.Items = t.Items[:fitting(t.Items, p.cfg.limits.MaxBatchBytes)]
	}
	if pt.divert != nil {
		if t.Items[0].isPump() {
			return p.pump(pt, t)
		}
		if pt.divert.converting.Load() > 0 {
			if r, over := pt.divert.convert(t); over {
				return r
			}
		}
	}
	return p.handle(pt.ctx, pt, t)
}

// fitting returns how many of the items, at least one, a turn may have: at most so many bytes, and none behind a pump.
func fitting(items []*item, bytes int) int {
	for i, it := range items {
		if bytes -= int(it.size); i > 0 && (bytes < 0 || it.isPump()) || it.isPump() {
			return max(1, i)
		}
	}
	return len(items)
}

// handle runs the handler chain for the turn's items, which are of a lane or of the log of a diverted key.
func (p *Pipeline) handle(ctx context.Context, pt *partition, t *keyed.Turn[item]) keyed.Result {
	if first := t.Items[0]; first.marks&(unkeyed|blocked) != 0 {
		if r, over := p.marked(pt, t, first); over { //nolint:contextcheck // the log has no use for the ctx of a call
			return r
		}
	}
	c := scratchOf(t).callOf(t.Items)
	err := p.next(ctx, c)
	if err == nil {
		if p.outputs != nil {
			return p.write(pt, t, c)
		}
		return keyed.Result{Done: len(t.Items)}
	}
	return p.troubled(pt, t, err) //nolint:contextcheck // as above
}

// marked handles an item with a mark of submit or an earlier turn. It returns over if the turn must not call the
// handler.
func (p *Pipeline) marked(pt *partition, t *keyed.Turn[item], it *item) (r keyed.Result, over bool) {
	if it.marks.has(unkeyed) {
		it.Attempt++
		cause, _ := pt.keyErrors.Load(it.number)
		err, _ := cause.(error)
		return p.failedTurn(pt, t, 0, &KeyError{err}), true
	}
	it.marks &^= blocked // the block has ended: attempts count from 1 again
	it.Attempt = 0
	return keyed.Result{}, false
}

// troubled converts an error of the handler chain to the turn's Result.
func (p *Pipeline) troubled(pt *partition, t *keyed.Turn[item], err error) keyed.Result {
	if pt.ctx.Err() != nil {
		// Neither success nor failure: the handler was cancelled (I11). The next owner handles the message again.
		return keyed.Result{Hold: true}
	}
	err = readable(err)
	if p.cfg.crash {
		if e, ok := errors.AsType[*keystrand.PanicError](err); ok {
			panic(fmt.Sprintf("%v\n\n%s", e.Value, e.Stack))
		}
	}
	outcome, delay := keystrand.OutcomeOf(err)
	done := 0 // items before the failed one
	if len(t.Items) > 1 {
		e, named := errors.AsType[*keystrand.BatchError](err)
		switch {
		case named && e.Settled >= 0 && e.Settled < len(t.Items):
			done = e.Settled
			uncount(t.Items[done+1:]) // only the named item has failed
		case outcome == keystrand.OutcomeSkipped:
			p.counts.skipped.Add(int64(len(t.Items)))
			pt.tellAbout(slog.LevelInfo, t, t.Items, "messages skipped", err)
			return keyed.Result{Done: len(t.Items)}
		case outcome == keystrand.OutcomeRetry, outcome == keystrand.OutcomePostponed: // the same batch again
			p.again(pt, t.Items, outcome, err)
			return keyed.Result{Next: keyed.Together(len(t.Items)), Park: delay}
		default: // run them one by one, to find the one that fails
			for _, it := range t.Items {
				it.Attempt = 0
			}
			return keyed.Result{Next: keyed.Singly(len(t.Items))}
		}
	}
	switch outcome {
	case keystrand.OutcomeHandled:
		return keyed.Result{Done: done}
	case keystrand.OutcomeSkipped:
		p.counts.skipped.Add(1)
		pt.tellAbout(slog.LevelInfo, t, t.Items[done:done+1], "message skipped", err)
		return keyed.Result{Done: done + 1}
	case keystrand.OutcomeRetry, keystrand.OutcomePostponed:
		p.again(pt, t.Items[done:done+1], outcome, err)
		return keyed.Result{Done: done, Park: delay}
	case keystrand.OutcomeFailed, keystrand.OutcomePermanent:
	}
	return p.failedTurn(pt, t, done, err)
}

// again prepares items that the handler gets again after a pause.
func (p *Pipeline) again(pt *partition, items []*item, outcome keystrand.Outcome, err error) {
	if outcome == keystrand.OutcomePostponed {
		p.counts.postponed.Add(1)
		uncount(items)
	} else {
		p.counts.retried.Add(1)
	}
	for _, it := range items {
		it.unpin()
		pt.noteError(it, err, outcome == keystrand.OutcomeRetry)
	}
}

// failedTurn calls the policy for an item that has failed for good. The items before it leave the lane.
func (p *Pipeline) failedTurn(pt *partition, t *keyed.Turn[item], done int, err error) keyed.Result {
	one := t.Items[done : done+1]
	it := one[0]
	if it.blocks == 0 {
		p.counts.failed.Add(1) // else it has failed before
	}
	outcome, _ := keystrand.OutcomeOf(err)
	action := p.decide(p.cfg.policy, Failure{Message: &it.Message, Err: err, Permanent: outcome == keystrand.OutcomePermanent})
	switch action.kind {
	case skip:
		p.counts.skipped.Add(1)
		pt.tellAbout(slog.LevelWarn, t, one, "failed message skipped", err)
		return keyed.Result{Done: done + 1}
	case block:
		return keyed.Result{Done: done, Hold: true, Park: pt.block(t, one, action, err, "")}
	case deadLetter:
		it.unpin()
		pt.tellAbout(slog.LevelWarn, t, one, "failed message dead-lettered", err)
		return p.letters.send(action.letters, pt, t, done, err)
	case hold:
		return p.hold(pt, t, done, err)
	case stop:
	}
	p.failed(newFailureError(&it.Message, err))
	return keyed.Result{Done: done, Hold: true}
}

// block marks the item that blocks its key. It returns the pause, or 0 until Resume.
func (pt *partition) block(t *keyed.Turn[item], one []*item, action Action, err error, instead string) (pause time.Duration) {
	it, became := one[0], "key blocked until Resume"
	if pause = action.pause(it.blocks); pause > 0 {
		became = fmt.Sprintf("key blocked for %v", pause)
	}
	it.marks |= blocked
	it.blocks += min(1, math.MaxUint8-it.blocks)
	it.unpin()
	pt.noteError(it, err, true)
	pt.tellAbout(slog.LevelWarn, t, one, became+instead, err, EventBlocked)
	return pause
}

// hold diverts a key, from its failed message on, and holds it; else it blocks the key.
func (p *Pipeline) hold(pt *partition, t *keyed.Turn[item], done int, err error) keyed.Result {
	refused := "there is no store"
	if pt.divert != nil {
		refused = pt.divert.hold(t, done, err)
	}
	one := t.Items[done : done+1]
	switch refused {
	case "":
	default:
		until := Action{kind: block}
		if refused == holdLater {
			until.first, until.most = time.Second, time.Minute
		}
		return keyed.Result{Done: done, Hold: true, Park: pt.block(t, one, until, err, ", not held: "+refused)}
	}
	one[0].unpin()
	pt.forget(one[0])                            // the strand has the reason
	one[0].marks = one[0].marks&^erred | blocked // if it stays: the store may refuse it
	pt.tellAbout(slog.LevelWarn, t, one, "key held for an operator", err, EventHeld)
	return keyed.Result{Done: done}
}

// decide calls a policy. If the policy panics or calls runtime.Goexit, the pipeline stops. It runs on a goroutine of
// its own, so that a Goexit does not end the caller's.
func (p *Pipeline) decide(policy Policy, f Failure) (a Action) {
	decided := make(chan struct{})
	go func() {
		defer close(decided)
		cause := errPolicyExited
		defer func() {
			if v := recover(); v != nil {
				cause = &keystrand.PanicError{Value: v, Stack: debug.Stack()}
			}
			if cause != nil {
				p.failed(newFailureError(f.Message, errors.Join(f.Err, cause)))
				a = Stop(f)
			}
		}()
		a, cause = policy(f), nil
	}()
	<-decided
	return a
}

var errPolicyExited = errors.New("pipeline: the failure policy called runtime.Goexit: it must return")

// exited is Config.Exited of the executor: a handler that called runtime.Goexit has failed.
func (p *Pipeline) exited(t *keyed.Turn[item]) keyed.Result {
	pt, _ := t.Queue.Data().(*partition)
	r := p.troubled(pt, t, ErrGoexit)
	if t.Items[0].isRecord() {
		return pt.divert.turned(pt.divert.strandOf(t), t, r)
	}
	return r
}

// ErrGoexit is the failure of a handler that called runtime.Goexit, as testing.T.FailNow does.
var ErrGoexit = errors.New("pipeline: the handler called runtime.Goexit")

// KeyError is the failure of a message whose key function failed. Its handler was not called.
type KeyError struct{ Err error }

// Error returns the text of the key function's error.
func (e *KeyError) Error() string { return fmt.Sprintf("pipeline: key: %v", e.Err) }

// Unwrap returns the key function's error.
func (e *KeyError) Unwrap() error { return e.Err }

// uncount takes back an attempt of items that were postponed, or that another item of the batch made fail.
func uncount(items []*item) {
	for _, it := range items {
		it.Attempt--
	}
}

// unpin copies the bytes of an item that may wait long. Sources cut payloads from chunks of up to 64 KiB, and the item
// would keep its whole chunk in memory.
func (it *item) unpin() {
	if it.marks.has(cloned) {
		return
	}
	it.marks |= cloned
	own(&it.Message)
}

// own gives a message its own copy of its bytes.
func own(m *keystrand.Message) {
	m.Key = bytes.Clone(m.Key)
	cloneValue(m)
	if len(m.Headers) > 0 {
		m.Headers = append([]keystrand.Header(nil), m.Headers...)
		for i := range m.Headers {
			m.Headers[i].Value = bytes.Clone(m.Headers[i].Value)
		}
	}
}

// tellAbout logs the outcome of messages of one turn that were not handled, and tells the event of that kind, if one is given. It
// prints the key as [Pipeline.Resume] accepts it, unless it is too long, and the largest attempt.
func (pt *partition) tellAbout(level slog.Level, t *keyed.Turn[item], items []*item, became string, err error, event ...EventKind) {
	ctx, log := context.WithoutCancel(pt.ctx), pt.report.p.log
	if len(event) == 0 && !log.Enabled(ctx, level) {
		return
	}
	first, last, attempt := items[0], items[len(items)-1], int32(0)
	for _, it := range items {
		attempt = max(attempt, it.Attempt)
	}
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs, slog.String("became", became))
	if first == last {
		attrs = append(attrs, slog.Int64("offset", first.Offset))
	} else {
		attrs = append(attrs, slog.Int64("first_offset", first.Offset), slog.Int64("last_offset", last.Offset))
	}
	key := ""
	if lanes, _ := t.Lanes(); len(lanes) > 0 {
		key = loggedKey(keystrand.Lane(lanes[0]).String())
	}
	attrs = append(attrs, slog.String("key", key), slog.Int("attempt", int(attempt)), loggedError(err))
	if len(event) > 0 {
		pt.report.tell(pt, Event{Kind: event[0], Key: key, Err: err}, attrs...)
		return
	}
	pt.log().LogAttrs(ctx, level, notHandled, attrs...)
}

const notHandled = "message not handled"
