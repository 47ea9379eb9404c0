package pulsar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// catalogue is what is known of the topics to read. Only discover uses it.
type catalogue struct {
	begin  time.Time                   // of the source
	pause  *backoff.ExponentialBackOff // between looks before everything is known
	seen   map[string]bool             // topics that are named and were found
	last   map[string]error            // why others were not, by topic
	listed bool                        // the web service has answered
	names  []string                    // topics that match, as it said last

	// Of one look.
	unseen bool // a topic is left that was not found yet
	failed bool // a topic could not be looked up
}

func newCatalogue(begin time.Time) *catalogue {
	return &catalogue{
		begin: begin, pause: newBackoff(firstRetry, mostRetry), seen: make(map[string]bool), last: make(map[string]error),
	}
}

// discover looks for partitions until ctx ends, and lets a contender run for each. begin is when the source began to connect.
func (s *Source) discover(ctx context.Context, begin time.Time) {
	timer := time.NewTimer(s.cfg.WatchInterval)
	defer timer.Stop()
	s.known = newCatalogue(begin)
	for {
		again, ok := s.survey(ctx, s.known)
		if !ok {
			return
		}
		timer.Reset(again)
		select {
		case <-timer.C:
		case <-s.look:
		case <-ctx.Done():
			return
		}
	}
}

// lookUps is what looking topics up is called in the health of the source.
const lookUps = "look up topics"

// survey looks at all topics once. It returns when to look again, and false when there is no use in going on.
func (s *Source) survey(ctx context.Context, known *catalogue) (again time.Duration, ok bool) {
	known.unseen, known.failed = false, false
	for _, stream := range s.topics {
		if !s.surveyTopic(ctx, stream, known, false) {
			return 0, false
		}
	}
	again = s.cfg.WatchInterval
	if s.cfg.Pattern != nil {
		if again, ok = s.surveyPattern(ctx, known); !ok {
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
		s.mu.Lock()
		if s.state == stateConnecting {
			s.state = stateContending
		}
		s.mu.Unlock()
	}
	return again, true
}

// surveyTopic looks at the partitions of one topic: of one that is named, or matches.
func (s *Source) surveyTopic(ctx context.Context, stream string, known *catalogue, pattern bool) bool {
	late := pattern || known.seen[stream]
	topics, err := s.partitions(ctx, stream, known, late)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
	case missing(err) && (late || s.cfg.WatchTopics):
		topics = nil
		if !pattern {
			s.health.Fails(ctx, "read "+stream, fmt.Errorf("%w: %w", ErrTopicMissing, err))
		}
	case missing(err):
		s.fail(fmt.Errorf("%w: %q, subscription %q: %w (create it, or set Config.WatchTopics)", ErrTopicMissing, stream, s.subscription, err))
		return false
	case late:
		return true // told; the next look comes
	case errors.Is(err, errLater):
		known.unseen = true
		return true // told as well
	default:
		s.fail(err)
		return false
	}
	if !pattern {
		known.seen[stream] = true
	}
	delete(known.last, stream)
	err = s.contend(ctx, found{stream: stream, topics: topics, late: late, pattern: pattern})
	switch {
	case err != nil:
		s.health.Fails(ctx, "read "+stream, err)
	case len(topics) > 0:
		s.health.Forget("read " + stream)
	}
	return true
}

// errLater is why a topic is not known yet.
var errLater = errors.New("it is looked up again")

// partitions asks once for the partitions of a topic. What fails is told: one that is refused by its name, for it alone may be, and
// of all others the first, for it is the brokers that cannot be reached. late: it was found before. One that was not is waited
// for until StartTimeout; then, and if it is refused, the error is final.
func (s *Source) partitions(ctx context.Context, stream string, known *catalogue, late bool) ([]string, error) {
	refused := "look up " + stream
	bounded := ctx
	if !late {
		var cancel context.CancelFunc
		bounded, cancel = s.starting(ctx, known.begin)
		defer cancel()
	}
	topics, err := call(bounded, s, func() ([]string, error) { return s.client.partitions(stream) }, func([]string) {})
	if err == nil || missing(err) {
		s.health.Works(ctx, refused)
		return topics, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if f := s.fatal(stream, s.subscription, err); f != nil {
		if late {
			s.health.Fails(ctx, refused, f)
		}
		return nil, f
	}
	err = fmt.Errorf("topic %q: %w", stream, s.lines.because(err))
	if last := known.last[stream]; last != nil && bounded.Err() != nil {
		err = last // says more than that the time is over
	}
	known.last[stream] = err
	if !known.failed {
		s.health.Fails(ctx, lookUps, err)
	}
	known.failed = true
	switch {
	case late:
		return nil, err
	case s.cfg.StartTimeout > 0 && time.Since(known.begin) >= s.cfg.StartTimeout:
		return nil, fmt.Errorf("%w: %s: subscription %q, %w", ErrStartTimeout, s.url, s.subscription, err)
	}
	return nil, fmt.Errorf("%w: %w", errLater, err)
}

// because adds to an error of the library why there is no connection.
func (l *lines) because(err error) error {
	c := l.cause()
	switch {
	case c.refused != "":
		return fmt.Errorf("%w: the broker says %q", err, c.refused)
	case errors.Is(c.err, io.EOF), says(c.err, "unable to read frame size: EOF"): // the library keeps its text alone
		return fmt.Errorf("%w: %w: the other side has closed the connection at once: is it a port of a broker, for a URL with TLS or without?", err, c.err)
	case c.err != nil:
		return fmt.Errorf("%w: %w", err, c.err)
	}
	return err
}

// found is what a look at a topic has brought.
type found struct {
	stream  string
	topics  []string // of its partitions; none: it is gone
	late    bool     // it was not the first look
	pattern bool     // the topic is not named, but matches
}

// contend starts contenders for what is new of a topic, and tells those whose partition is gone, or there again. Its error
// says that what was found is not the topic that was read.
func (s *Source) contend(ctx context.Context, f found) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	partitioned := false
	before := make(map[int32]*contender) // whose topic is gone, by the number of the partition
	for _, c := range s.contenders {
		if c.stream != f.stream {
			continue
		}
		partitioned = partitioned || c.isPartition()
		there := slices.Contains(f.topics, c.topic)
		if !there {
			before[c.number] = c
		}
		c.vanished(!there)
	}
	for i, topic := range f.topics {
		if s.contenders[topic] != nil {
			continue
		}
		if partitioned && len(f.topics) == 1 && !strings.HasSuffix(topic, "-partition-0") {
			// Brokers that create topics by themselves answer so for a partitioned topic that was deleted.
			return fmt.Errorf("%w: it had partitions, and has none now", errGone)
		}
		c := newContender(s, topic, f.stream, int32(i), f.late)
		c.passing = f.pattern
		if b := before[c.number]; b != nil {
			// A topic that had no partitions was made again with some. Until the one before has let go it is not ours to accept.
			b.passing, c.before = true, b
		}
		s.contenders[topic] = c
		s.running.Go(func() { c.run(ctx) })
	}
	return nil
}

// retire reports whether a contender is to end for good: its topic is gone, and only the list, or a topic that has taken its
// place, could say that there is another. One whose topic is named waits for it.
func (s *Source) retire(c *contender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, gone := c.look(); !gone || !c.passing {
		return false
	}
	delete(s.contenders, c.topic)
	return true
}

// matched tells whether a contender's topic is not named, but matches: what is refused of it ends nothing else.
func (s *Source) matched(c *contender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.passing
}

// isGone tells whether a partition of a topic is gone, or all have been for a while.
func (s *Source) isGone(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := false
	for _, c := range s.contenders {
		if c.stream != stream {
			continue
		}
		if _, gone := c.look(); gone {
			return true
		}
		there = true
	}
	return !there
}

var errGone = errors.New("the topic was deleted")

// attached is told by the library's log that the broker has attached a consumer or a candidate.
func (s *Source) attached(topic, subscription string) {
	if c := s.contender(topic); c != nil && subscription == s.subscription+candidates {
		c.unheard()
	}
}

// broke is told by the library's log that the connection of a consumer or a candidate goes.
func (s *Source) broke(topic, subscription string) {
	c := s.contender(topic)
	switch {
	case c == nil:
	case subscription == s.subscription:
		c.broke()
	default:
		c.parted()
		c.shook()
	}
}

// unknown is told by the library's log that a consumer has ended which it does not know yet, it does not say whose: one that
// is being attached.
func (s *Source) unknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.contenders {
		c.stumbled()
	}
}

// ends is told by the library's log that it closes a connection because some topic has ended.
func (s *Source) ends() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endAt = time.Now()
}

// ended tells whether that was lately.
func (s *Source) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.endAt.IsZero() && time.Since(s.endAt) < quickEnd
}

func (s *Source) contender(topic string) *contender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contenders[topic]
}

// died is told by the library's log that a consumer has given up because its topic was not there.
func (s *Source) died(topic string) {
	c := s.contender(topic)
	if c == nil {
		return
	}
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "pulsar: the topic was deleted", slog.String("topic", topic))
	c.died()
	poke(s.look)
}
