package outlet

import (
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// verdict is what a Write says of one output.
type verdict struct {
	cause     error               // of the first message that is not durable; nil: all are
	rest      []keystrand.Message // those that are not
	permanent bool                // the first is refused for good, and those after it are, too, or stand behind it
}

// judge reads what a Write returned about n of its messages, from the at-th on.
func (w *writer[X]) judge(at, n int, err error, partial *sink.PartialError) verdict {
	v := verdict{permanent: true}
	for i := at; i < at+n; i++ {
		e := err
		switch {
		case partial != nil && i < len(partial.Errs):
			e = w.x.hooks.Safe(partial.Errs[i])
		case partial != nil:
			e = errNotJudged
		}
		if e == nil {
			continue
		}
		v.rest = append(v.rest, w.ms[i])
		outcome, _ := keystrand.OutcomeOf(e)
		v.permanent = v.permanent && (outcome == keystrand.OutcomePermanent || v.cause != nil && errors.Is(e, sink.ErrBehind))
		if v.cause == nil {
			v.cause = e
		}
	}
	return v
}

// errNotJudged is why a message is written again of which the sink said neither that it is durable nor why not.
var errNotJudged = errors.New("pipeline: the sink's PartialError has no entry for this message")
