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

// turn runs the handler chain for a lane's first item, or its first items, and reads from what it returned what becomes
// of them. It is called by the executor on a worker.
func (p *Pipeline) turn(t *keyed.Turn[item]) keyed.Result {
	pt, _ := t.Queue.Data().(*partition)
	if first := t.Items[0]; first.marks&(unkeyed|blocked) != 0 {
		if r, over := p.marked(pt, t, first); over {
			return r
		}
	}
	c := scratchOf(t).callOf(t.Items)
	err := p.next(pt.ctx, c)
	release(c)
	if err == nil {
		if p.outputs != nil {
			return p.write(pt, t, c)
		}
		return keyed.Result{Done: len(t.Items)}
	}
	return p.troubled(pt, t, err)
}

// marked sees to an item that an earlier turn, or submit, has left a mark on. over: the turn is at its end.
func (p *Pipeline) marked(pt *partition, t *keyed.Turn[item], it *item) (r keyed.Result, over bool) {
	if it.marks.has(unkeyed) {
		it.Attempt++
		cause, _ := pt.keyErrors.Load(it.number)
		err, _ := cause.(error)
		return p.failedTurn(pt, t, 0, &KeyError{err}), true
	}
	it.marks &^= blocked // an operator lets the key try again, as if for the first time
	it.Attempt = 0
	return keyed.Result{}, false
}

// troubled reads an error of the chain. It says what becomes of the turn's items.
func (p *Pipeline) troubled(pt *partition, t *keyed.Turn[item], err error) keyed.Result {
	if pt.ctx.Err() != nil {
		// Neither success nor failure: the handler was told to end (I11). The next owner handles it again.
		return keyed.Result{Hold: true}
	}
	err = readable(err)
	if p.cfg.crash {
		if e, ok := errors.AsType[*keystrand.PanicError](err); ok {
			panic(fmt.Sprintf("%v\n\n%s", e.Value, e.Stack))
		}
	}
	outcome, delay := keystrand.OutcomeOf(err)
	done := 0 // items before the one that the error is about
	if len(t.Items) > 1 {
		e, named := errors.AsType[*keystrand.BatchError](err)
		switch {
		case named && e.Settled >= 0 && e.Settled < len(t.Items):
			done = e.Settled
			uncount(t.Items[done+1:]) // only the culprit has failed
		case outcome == keystrand.OutcomeSkipped:
			p.counts.skipped.Add(int64(len(t.Items)))
			pt.logAbout(slog.LevelInfo, t, t.Items[0], "messages skipped", err)
			return keyed.Result{Done: len(t.Items)}
		case outcome == keystrand.OutcomeRetry: // the whole batch is tried again as it was
			p.counts.retried.Add(1)
			for _, it := range t.Items {
				it.unpin()
			}
			return keyed.Result{Next: keyed.Together(len(t.Items)), Park: delay}
		default: // one by one, to find the culprit
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
		pt.logAbout(slog.LevelInfo, t, t.Items[done], "message skipped", err)
		return keyed.Result{Done: done + 1}
	case keystrand.OutcomeRetry:
		p.counts.retried.Add(1)
		t.Items[done].unpin()
		return keyed.Result{Done: done, Park: delay}
	case keystrand.OutcomeFailed, keystrand.OutcomePermanent:
	}
	return p.failedTurn(pt, t, done, err)
}

// failedTurn asks the policy about an item that has failed for good. The items before it leave the lane.
func (p *Pipeline) failedTurn(pt *partition, t *keyed.Turn[item], done int, err error) keyed.Result {
	it := t.Items[done]
	p.counts.failed.Add(1)
	outcome, _ := keystrand.OutcomeOf(err)
	action := p.decide(Failure{Message: &it.Message, Err: err, Permanent: outcome == keystrand.OutcomePermanent})
	switch action.kind {
	case skip:
		p.counts.skipped.Add(1)
		pt.logAbout(slog.LevelWarn, t, it, "failed message skipped", err)
		return keyed.Result{Done: done + 1}
	case block:
		return keyed.Result{Done: done, Hold: true, Park: pt.block(t, it, action, err)}
	case deadLetter:
		it.unpin()
		pt.logAbout(slog.LevelWarn, t, it, "failed message goes to the dead letters", err)
		return p.letters.send(action.letters, pt, t, done, err)
	case stop:
	}
	p.failed(newFailureError(&it.Message, err))
	return keyed.Result{Done: done, Hold: true}
}

// block marks the item whose key is blocked, and returns for how long; 0: until it is resumed.
func (pt *partition) block(t *keyed.Turn[item], it *item, action Action, err error) (pause time.Duration) {
	became := "key blocked until it is resumed"
	if pause = action.pause(it.blocks); pause > 0 {
		became = fmt.Sprintf("key blocked for %v", pause)
	}
	it.marks |= blocked
	it.blocks += min(1, math.MaxUint8-it.blocks)
	it.unpin()
	pt.logAbout(slog.LevelWarn, t, it, became, err)
	return pause
}

// decide asks the policy. A policy that panics stops the pipeline, as one does that ends its goroutine: that is none of
// ours therefore, since who asks has more to do.
func (p *Pipeline) decide(f Failure) (a Action) {
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
		a, cause = p.cfg.policy(f), nil
	}()
	<-decided
	return a
}

var errPolicyExited = errors.New("pipeline: the failure policy ended its goroutine (runtime.Goexit)")

// exited is what a turn comes to whose handler ended its goroutine: a failure, as a panic is.
func (p *Pipeline) exited(t *keyed.Turn[item]) keyed.Result {
	pt, _ := t.Queue.Data().(*partition)
	return p.troubled(pt, t, ErrGoexit)
}

// ErrGoexit is the failure of a handler that called runtime.Goexit, as testing.T.FailNow does.
var ErrGoexit = errors.New("pipeline: the handler ended its goroutine (runtime.Goexit)")

// KeyError is the failure of a message whose key function failed. Its handler was not called.
type KeyError struct{ Err error }

// Error tells what the key function returned.
func (e *KeyError) Error() string { return fmt.Sprintf("pipeline: key: %v", e.Err) }

// Unwrap returns what the key function returned.
func (e *KeyError) Unwrap() error { return e.Err }

// uncount takes an attempt back that failed because of another message of the batch.
func uncount(items []*item) {
	for _, it := range items {
		it.Attempt--
	}
}

// unpin gives an item that will wait long its own copy of its bytes: as a piece of a larger chunk (sources cut payloads
// from chunks of up to 64 KiB) it would keep all of the chunk in memory.
func (it *item) unpin() {
	if it.marks.has(cloned) {
		return
	}
	it.marks |= cloned
	it.Key = bytes.Clone(it.Key)
	cloneValue(&it.Message)
	if len(it.Headers) > 0 {
		it.Headers = append([]keystrand.Header(nil), it.Headers...)
		for i := range it.Headers {
			it.Headers[i].Value = bytes.Clone(it.Headers[i].Value)
		}
	}
}

// logAbout logs what became of a message that was not handled. It names the key as [Pipeline.Resume] takes it.
func (pt *partition) logAbout(level slog.Level, t *keyed.Turn[item], it *item, became string, err error) {
	key := ""
	if lanes, _ := t.Lanes(); len(lanes) > 0 {
		key = keystrand.Lane(lanes[0]).String()
	}
	pt.log.LogAttrs(context.WithoutCancel(pt.ctx), level, "message not handled",
		slog.String("became", became), slog.Int64("offset", it.Offset), slog.String("key", key), slog.Int("attempt", int(it.Attempt)), slog.Any("error", err))
}
