// Package ratelimit delays messages so that a handler is called at most at a given rate. A message that must wait is postponed
// with [keystrand.Later]: its lane is parked and occupies no worker, and no attempt is counted.
//
// The limiters are those of golang.org/x/time/rate. [New] has one for all messages, [By] has one for each label that a function
// derives from a message, such as a customer or a host. A change by SetLimit or SetBurst applies to messages that come after it,
// and within 10 s to those that wait already.
//
// Each call of the handler takes one token for each message of the call, also if it is a retry. The messages that wait get
// tokens in the order in which they came, each at its own time: they do not come all at once to find that there is one token.
// A message that finds more than a second of others in front of it comes again later, at a time that is its own as far as
// possible, so many waiting messages cost little. Messages of one key stay in order.
//
// A batch of a [keystrand.BatchHandler] with more messages than the burst waits until the limiter has issued tokens for all of
// them, and then runs whole. The rate holds on average, the burst does not.
//
// Put it inside middleware.Retry and outside middleware.Timeout, and inside breaker.New, so that a message that an open
// breaker refuses takes no token:
//
//	Use(middleware.Log(…), middleware.Retry(…), breaker.New(…), ratelimit.New(…), middleware.Timeout(…))
//
// A limiter is of this process. The package does not share a rate among machines.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/internal/labels"
)

// New returns middleware that limits all messages with one limiter. Pipelines may share the limiter.
//
// New panics when the pipeline is built if the limiter is nil or its burst permits no message. A limit of 0 stops all messages
// until SetLimit raises it.
//
// A turn that need not wait costs no allocation.
func New(limiter *rate.Limiter) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		switch {
		case limiter == nil:
			panic(errors.New("ratelimit: New: the limiter is nil"))
		case limiter.Limit() != rate.Inf && limiter.Burst() < 1:
			panic(fmt.Errorf("ratelimit: New: the burst of the limiter is %d: no message would ever run; it must be 1 or more", limiter.Burst()))
		}
		q := newQueue(limiter, "rate limit")
		return func(ctx context.Context, c *keystrand.Call) error {
			if err := q.admit(time.Now(), c.Messages); err != nil {
				return err
			}
			return next(ctx, c)
		}
	}
}

// By returns middleware with a limiter for each label. limiter makes the one of a new label; nil means that the label has no
// limit. label returns the label of a message. For a batch it gets the first message, and the limiter of that label counts the
// whole batch: choose a label that all messages of a key share.
//
// Both are called from many goroutines and must not block.
//
// A limiter that has all its tokens again, and was not used for a minute, is dropped as new labels come. If its label comes
// again, limiter is called again. So it should return the limit that holds at that time, or a limiter that the caller keeps, if
// the caller changes limits by SetLimit.
//
// By panics when the pipeline is built if a function is nil. Messages of a limiter whose burst permits no message wait until
// SetBurst raises it.
func By(label func(*keystrand.Message) string, limiter func(label string) *rate.Limiter) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		if err := errors.Join(missing(label == nil, "label"), missing(limiter == nil, "limiter")); err != nil {
			panic(err)
		}
		queues := newQueues(limiter)
		return func(ctx context.Context, c *keystrand.Call) error {
			if len(c.Messages) > 0 {
				now := time.Now()
				if err := queues.Get(label(c.Messages[0]), now).admit(now, c.Messages); err != nil {
					return err
				}
			}
			return next(ctx, c)
		}
	}
}

func missing(is bool, what string) error {
	if !is {
		return nil
	}
	return fmt.Errorf("ratelimit: By: the function %s is nil", what)
}

func newQueues(limiter func(label string) *rate.Limiter) *labels.Table[*queue] {
	return labels.New(func(label string) *queue {
		l := limiter(label)
		if l == nil {
			l = rate.NewLimiter(rate.Inf, 0)
		}
		return newQueue(l, fmt.Sprintf("rate limit of %.64q", label))
	}, (*queue).idle)
}
