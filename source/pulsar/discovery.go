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
)

// discover looks for partitions until ctx ends, and lets a contender run for each.
func (s *Source) discover(ctx context.Context) {
	timer := time.NewTimer(s.cfg.WatchInterval)
	defer timer.Stop()
	late := false
	for {
		if !s.survey(ctx, late) {
			return
		}
		late = true
		timer.Reset(s.cfg.WatchInterval)
		select {
		case <-timer.C:
		case <-s.look:
		case <-ctx.Done():
			return
		}
	}
}

// survey looks at all topics once. It reports false when there is no use in going on.
func (s *Source) survey(ctx context.Context, late bool) bool {
	streams := s.topics
	if s.cfg.Pattern != nil {
		more, ok := s.matching(ctx)
		if !ok {
			return false
		}
		streams = append(slices.Clip(streams), more...)
	}
	for i, stream := range streams {
		pattern := i >= len(s.topics)
		if !s.surveyTopic(ctx, stream, late || pattern, pattern) {
			return false
		}
	}
	s.mu.Lock()
	if s.state == Connecting {
		s.state = Contending
	}
	s.mu.Unlock()
	return true
}

// surveyTopic looks at the partitions of one topic. late: it is not the first look.
func (s *Source) surveyTopic(ctx context.Context, stream string, late, pattern bool) bool {
	found, err := s.partitions(ctx, stream, late)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
	case missing(err) && (late || s.cfg.WatchTopics || pattern):
		found = nil
		if !pattern {
			s.health.Fails(ctx, "read "+stream, fmt.Errorf("%w: %w", ErrTopicMissing, err))
		}
	case missing(err):
		s.fail(fmt.Errorf("%w: %q, subscription %q: %w (create it, or set Config.WatchTopics)", ErrTopicMissing, stream, s.subscription, err))
		return false
	case late:
		return true // told; the next look comes
	default:
		s.fail(err)
		return false
	}
	if len(found) > 0 {
		s.health.Forget("read " + stream)
	}
	s.contend(ctx, stream, found, late)
	return true
}

// partitions asks for the partitions of a topic, until there is an answer; a later look is tried once.
func (s *Source) partitions(ctx context.Context, stream string, once bool) ([]string, error) {
	const what = "look up topics"
	bo := newBackoff(firstRetry, mostRetry)
	begin := time.Now()
	for {
		found, err := call(ctx, s, func() ([]string, error) { return s.client.partitions(stream) }, func([]string) {})
		if err == nil || missing(err) {
			s.health.Works(ctx, what)
			return found, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if f := s.fatal(stream, err); f != nil {
			return nil, f
		}
		err = fmt.Errorf("topic %q: %w", stream, s.lines.because(err))
		s.health.Fails(ctx, what, err)
		if once {
			return nil, err
		}
		left := s.cfg.StartTimeout - time.Since(begin)
		if s.cfg.StartTimeout > 0 && left <= 0 {
			return nil, fmt.Errorf("%w: %s: %w", ErrStartTimeout, s.url, err)
		}
		delay := bo.NextBackOff()
		if s.cfg.StartTimeout > 0 {
			delay = min(delay, left)
		}
		if !sleep(ctx, delay) {
			return nil, context.Cause(ctx)
		}
	}
}

// because adds to an error of the library why there is no connection.
func (l *lines) because(err error) error {
	c := l.cause()
	switch {
	case c.refused != "":
		return fmt.Errorf("%w: the broker says %q", err, c.refused)
	case errors.Is(c.err, io.EOF):
		return fmt.Errorf("%w: %w: the other side has closed the connection at once: is it a port of a broker, for a URL with TLS or without?", err, c.err)
	case c.err != nil:
		return fmt.Errorf("%w: %w", err, c.err)
	}
	return err
}

// contend starts contenders for what is new of a topic, and tells those whose partition is gone, or there again.
func (s *Source) contend(ctx context.Context, stream string, found []string, late bool) {
	there := make(map[string]bool, len(found))
	for _, topic := range found {
		there[topic] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	partitioned := false
	for _, c := range s.contenders {
		if c.stream != stream {
			continue
		}
		partitioned = partitioned || strings.HasSuffix(c.topic, fmt.Sprintf("-partition-%d", c.number))
		c.vanished(!there[c.topic])
	}
	for i, topic := range found {
		if s.contenders[topic] != nil {
			continue
		}
		if partitioned && len(found) == 1 && !strings.HasSuffix(topic, "-partition-0") {
			// Brokers that create topics by themselves answer so for a partitioned topic that was deleted.
			s.health.Fails(ctx, "read "+stream, fmt.Errorf("%w: it had partitions, and has none now", errGone))
			return
		}
		c := newContender(s, topic, stream, int32(i), late)
		s.contenders[topic] = c
		s.running.Go(func() { c.run(ctx) })
	}
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
	c.vanished(true)
	poke(s.look)
}
