package pulsar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// catalogue records the topics to read. Only discover uses it. It keeps nothing of matching topics that are deleted.
type catalogue struct {
	begin  time.Time                   // of the source
	pause  *backoff.ExponentialBackOff // between surveys until everything is known
	seen   map[string]bool             // named topics that were found
	last   map[string]error            // last failure to look up a topic that was not found
	listed bool                        // the web service has answered
	names  []string                    // matching topics in its last answer

	settled  *time.Timer // when to log the partitions that are owned
	settling bool        // the timer runs
	told     string      // the partitions in the last of those lines

	// Of one survey.
	unseen bool // a topic was not found yet
	failed bool // a look-up failed
}

func newCatalogue(begin time.Time) *catalogue {
	return &catalogue{
		begin: begin, pause: newBackoff(firstRetry, mostRetry), seen: make(map[string]bool), last: make(map[string]error),
		settled: time.NewTimer(100 * 365 * 24 * time.Hour),
	}
}

// discover looks for partitions until ctx ends, and runs a contender for each. begin is when the source began to connect.
func (s *Source) discover(ctx context.Context, begin time.Time) {
	timer := time.NewTimer(s.cfg.WatchInterval)
	defer timer.Stop()
	s.known = newCatalogue(begin)
	defer s.known.settled.Stop()
	for {
		again, ok := s.survey(ctx)
		if !ok {
			return
		}
		timer.Reset(again)
		if !s.rest(ctx, timer.C) {
			return
		}
	}
}

// rest waits for the next survey. Meanwhile it logs which partitions are owned. It reports false when ctx has ended.
func (s *Source) rest(ctx context.Context, survey <-chan time.Time) bool {
	for {
		select {
		case <-survey:
			return true
		case <-s.look:
			return true
		case <-s.shifted:
			if !s.known.settling {
				s.known.settling = true
				s.known.settled.Reset(settling)
			}
		case <-s.known.settled.C:
			s.known.settling = false
			s.tellOwned(ctx)
		case <-ctx.Done():
			return false
		}
	}
}

// lookUps names the look-up of topics in the health of the source.
const lookUps = "look up topics"

// survey looks at all topics once. It returns when to look again, or false after a fatal error or the end of ctx.
func (s *Source) survey(ctx context.Context) (again time.Duration, ok bool) {
	known := s.known
	known.unseen, known.failed = false, false
	s.forgetLinks()
	for _, stream := range s.topics {
		if !s.surveyTopic(ctx, stream, false) {
			return 0, false
		}
	}
	again = s.cfg.WatchInterval
	if s.cfg.Pattern != nil {
		if again, ok = s.surveyPattern(ctx); !ok {
			return 0, false
		}
	}
	if !known.failed {
		s.health.Works(ctx, lookUps)
	}
	switch {
	case known.unseen:
		again = min(again, known.pause.NextBackOff())
		if s.cfg.StartTimeout > 0 {
			again = min(again, s.cfg.StartTimeout-time.Since(known.begin))
		}
	case s.cfg.Pattern == nil || known.listed:
		s.found(ctx)
	}
	return again, true
}

// surveyTopic looks at the partitions of one topic. pattern says that the topic matches, and is not named.
func (s *Source) surveyTopic(ctx context.Context, stream string, pattern bool) bool {
	known := s.known
	late := pattern || known.seen[stream]
	topics, err := s.partitions(ctx, stream, late)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
	case client.Missing(err) && (late || s.cfg.WatchTopics):
		topics = nil
		if !pattern {
			s.health.Fails(ctx, "read "+stream, fmt.Errorf("%w: %w", ErrTopicMissing, err))
		}
	case client.Missing(err):
		s.fail(fmt.Errorf("%w: %q, subscription %q: %w (create it, or set Config.WatchTopics)", ErrTopicMissing, stream, s.subscription, err))
		return false
	case late:
		return true // recorded; the next survey retries
	case errors.Is(err, errLater):
		known.unseen = true
		return true // recorded as well
	default:
		s.fail(err)
		return false
	}
	if !pattern {
		known.seen[stream] = true
	}
	delete(known.last, stream)
	err = s.contend(ctx, stream, topics, late, pattern)
	switch {
	case err != nil:
		s.health.Fails(ctx, "read "+stream, err)
	case len(topics) > 0:
		s.health.Forget("read " + stream)
	}
	return true
}

// errLater is in the error of a look-up that is retried.
var errLater = errors.New("look-up failed; retrying")

// partitions looks up the partitions of a topic once. late says that the topic was found before. If it was not, a
// refusal is final, and so is any failure after StartTimeout.
//
// A refusal is recorded for its topic alone. Of other failures only the first of a survey is recorded: the brokers are
// unreachable.
func (s *Source) partitions(ctx context.Context, stream string, late bool) ([]string, error) {
	known, refused := s.known, "look up "+stream
	bounded := ctx
	if !late {
		var cancel context.CancelFunc
		bounded, cancel = s.starting(ctx, known.begin)
		defer cancel()
	}
	over := s.asks(ctx, refused)
	topics, err := client.Call(bounded, &s.calls, func() ([]string, error) { return s.client.Partitions(stream) }, func([]string) {})
	over(err)
	if err == nil || client.Missing(err) {
		s.health.Works(ctx, refused)
		return topics, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if f := s.log.Fatal(stream, s.subscription, err); f != nil {
		if late {
			s.health.Fails(ctx, refused, f)
		}
		return nil, f
	}
	answered := client.Answered(err)
	err = pulsarname.Advise(fmt.Errorf("%w: topic %q", s.log.Because(err), stream))
	if last := known.last[stream]; last != nil && bounded.Err() != nil {
		err = last // says more than a timeout
	}
	known.last[stream] = err
	if !known.failed && (answered || !s.isUnreachable() && !s.isSilent()) { // else the trouble with the connection says it
		s.health.Fails(ctx, lookUps, err)
	}
	known.failed = true
	switch {
	case late:
		return nil, err
	case s.cfg.StartTimeout > 0 && time.Since(known.begin) >= s.cfg.StartTimeout:
		return nil, fmt.Errorf("%w: %w, subscription %q, %s", ErrStartTimeout, err, s.subscription, s.url)
	}
	return nil, fmt.Errorf("%w: %w", errLater, err)
}

// contend starts contenders for new partitions among these topics of a stream, and tells the others whether their partition
// exists. late says that this is not the first look-up. contend fails if another topic has replaced the one that was read.
func (s *Source) contend(ctx context.Context, stream string, topics []string, late, pattern bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	partitioned := false
	before := make(map[int32]*contender) // of topics that are gone, by the number of the partition
	for _, c := range s.contenders {
		if c.stream != stream {
			continue
		}
		partitioned = partitioned || c.isPartition()
		exists := slices.Contains(topics, c.topic)
		if !exists {
			before[c.number] = c
		}
		c.vanished(!exists)
	}
	for i, topic := range topics {
		if s.contenders[topic] != nil {
			continue
		}
		if partitioned && len(topics) == 1 && !strings.HasSuffix(topic, "-partition-0") {
			// A broker that creates topics on request answers so for a partitioned topic that was deleted.
			return fmt.Errorf("%w: it had partitions, and has none now", errGone)
		}
		c := newContender(s, topic, stream, int32(i), late)
		c.passing = pattern
		if b := before[c.number]; b != nil {
			// An unpartitioned topic was created again with partitions. Wait for the release of the old partition 0.
			b.passing, c.before = true, b
		}
		s.contenders[topic] = c
		s.calls.Go(func() { c.run(ctx) })
	}
	return nil
}

// retire reports whether a contender ends: its topic is gone, and only the list, or a topic in its place, can bring another.
// A contender of a named topic waits for it.
func (s *Source) retire(c *contender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, gone := c.look(); !gone || !c.passing {
		return false
	}
	delete(s.contenders, c.topic)
	return true
}

// matched reports whether a contender's topic matches, and is not named. Its errors end nothing else.
func (s *Source) matched(c *contender) bool { return guarded(&s.mu, &c.passing) }

// isGone reports whether any partition of a topic is gone, or all were retired.
func (s *Source) isGone(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	exists := false
	for _, c := range s.contenders {
		if c.stream != stream {
			continue
		}
		if _, gone := c.look(); gone {
			return true
		}
		exists = true
	}
	return !exists
}

var errGone = errors.New("the topic was deleted")
