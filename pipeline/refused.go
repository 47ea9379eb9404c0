package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/outlet"
	"github.com/keystrand/keystrand/sink"
)

// refused decides about an output or a dead letter that its sink refuses for good.
func (p *Pipeline) refused(o *output, cause error) outlet.Refusal {
	v := &o.Value
	if v.letter != nil {
		return p.letterRefused(o, cause)
	}
	if !v.failed {
		v.failed = true
		p.counts.failed.Add(1)
	}
	action := p.decide(p.cfg.policy, Failure{Message: &v.input, Err: cause, Permanent: true})
	switch {
	case action.kind == skip:
		return p.skipRefused(o, cause)
	case action.kind == deadLetter:
		v.logRefused("refused message dead-lettered", cause)
		if p.letters.replace(action.letters, o, cause) {
			return outlet.Hold // the messages of its key wait for the dead letter
		}
		return outlet.Halt // the outputs are cut, or the pipeline stops
	case action.kind == block && action.first > 0:
		return outlet.WriteAgain // until the sink accepts it
	}
	// Block cannot hold a key whose later messages may already be handled.
	p.failed(newFailureError(&v.input, cause))
	return outlet.Halt
}

// letterRefused decides about a dead letter: a smaller form of it, or the policy for letters that are refused.
func (p *Pipeline) letterRefused(o *output, cause error) outlet.Refusal {
	v, l := &o.Value, o.Value.letter
	if !errors.Is(cause, sink.ErrDestination) && l.shrink() {
		if !l.shrunk {
			l.shrunk = true
			v.logRefused("dead letter is tried with fewer headers", cause)
		}
		o.Messages[0] = l.message(&v.input)
		return outlet.Rewrite
	}
	cause = fmt.Errorf("dead letter refused: %w (the message failed: %s)", cause, l.last)
	policy, fallback := p.cfg.policy, l.box.fallback
	if fallback != nil {
		policy = fallback
	} else {
		cause = fmt.Errorf("%w; set a Fallback for such letters", cause)
	}
	action := p.decide(policy, Failure{Message: &v.input, Err: cause, Permanent: true})
	switch {
	case action.kind == skip:
		return p.skipRefused(o, cause)
	case action.kind == deadLetter && fallback != nil && !l.hasTried(action.letters):
		v.logRefused("dead letter sent to another sink", cause)
		if p.letters.forward(action.letters, o) {
			return outlet.Ended
		}
		return outlet.Halt
	case action.kind == block && action.first > 0:
		l.form = letterForms[0]
		o.Messages[0] = l.message(&v.input)
		return outlet.WriteAgain
	}
	p.failed(newFailureError(&v.input, cause))
	return outlet.Halt
}

func (p *Pipeline) skipRefused(o *output, cause error) outlet.Refusal {
	p.counts.skipped.Add(1)
	o.Value.logRefused("refused message skipped", cause)
	p.ended([]*output{o}, keyed.Result{Done: 1})
	return outlet.Ended
}

// logRefused logs the outcome of a message whose output was refused.
func (v *sent) logRefused(became string, cause error) {
	key := ""
	if v.named {
		key = loggedKey(v.lane.String())
	}
	v.pt.log().LogAttrs(context.WithoutCancel(v.pt.ctx), slog.LevelWarn, "output refused by the sink",
		slog.String("became", became), slog.Int64("offset", v.input.Offset), slog.String("key", key), loggedError(cause))
}
