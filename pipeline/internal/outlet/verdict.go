package outlet

import (
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// verdict is the result of a Write for one output.
type verdict struct {
	cause     error               // of the first message that is not durable; nil: all are durable
	rest      []keystrand.Message // the messages that are not durable
	permanent bool                // the first of rest is refused for good, the others too or only because they are behind it
}

// judge returns the verdict on n messages of a Write, from index at on.
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

// errNotJudged is the cause for messages beyond the end of a PartialError.
var errNotJudged = errors.New("pipeline: the sink's PartialError has no entry for this message")
