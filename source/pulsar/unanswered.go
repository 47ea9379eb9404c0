package pulsar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// slowAnswer is how long a connected broker may take to answer a request before that is trouble.
const slowAnswer = 2 * time.Second

// waitsFor names the requests without an answer in the health of the source: one trouble for all of them.
const waitsFor = "wait for the brokers"

// unanswered holds the requests that a broker has not answered in time. A request stays when its attempt is given up.
type unanswered struct {
	mu   sync.Mutex
	what map[string]struct{}
}

// asks records that a request begins. The caller calls over with its result.
func (s *Source) asks(ctx context.Context, what string) (over func(error)) {
	recorded := make(chan struct{})
	timer := time.AfterFunc(slowAnswer, func() {
		defer close(recorded)
		s.lacks(ctx, what)
	})
	return func(err error) {
		if !timer.Stop() {
			<-recorded // else the answer might be recorded first
		}
		if err == nil || client.Answered(err) || client.Missing(err) {
			s.answered(ctx, what)
		}
	}
}

// lacks records that a request has no answer yet.
func (s *Source) lacks(ctx context.Context, what string) {
	if s.isUnreachable() || !s.log.WasConnected() {
		return // the trouble with the connection says it
	}
	u := &s.unanswered
	u.mu.Lock()
	first := len(u.what) == 0
	if first {
		u.what = make(map[string]struct{})
	}
	u.what[what] = struct{}{}
	u.mu.Unlock()
	if first {
		s.health.Fails(ctx, waitsFor, fmt.Errorf("connected, but no answer for %v: %s (look at the logs of brokers and bookies)", slowAnswer, what))
	}
}

// answered records that a request was answered, or is not made any more.
func (s *Source) answered(ctx context.Context, what string) {
	u := &s.unanswered
	u.mu.Lock()
	_, was := u.what[what]
	delete(u.what, what)
	none := was && len(u.what) == 0
	u.mu.Unlock()
	if none {
		s.health.Works(ctx, waitsFor)
	}
}

// isSilent reports whether requests have no answer.
func (s *Source) isSilent() bool {
	s.unanswered.mu.Lock()
	defer s.unanswered.mu.Unlock()
	return len(s.unanswered.what) > 0
}
