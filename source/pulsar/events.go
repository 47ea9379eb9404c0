package pulsar

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// events returns the handlers of facts that only the library's log reports. None blocks.
func (s *Source) events() client.Events {
	e := client.Events{
		Disconnected: s.disconnected, Attached: s.attached, Unknown: s.unknown, EndOfTopic: s.endOfTopic, Deleted: s.deleted,
		Connected: s.connected, Unreachable: s.unreachable, Unreadable: s.unreadable,
	}
	if s.cfg.ChunkTimeout > 0 {
		e.Dropped = s.dropped
	}
	return e
}

func (s *Source) contender(topic string) *contender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contenders[topic]
}

func (s *Source) disconnected(topic, subscription string) {
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

func (s *Source) attached(topic, subscription string) {
	if c := s.contender(topic); c != nil && subscription == s.subscription+candidates {
		c.unheard()
	}
}

// unknown handles the end of a consumer in a log line that names no topic, so it concerns every contender that is attaching.
func (s *Source) unknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.contenders {
		c.stumbled()
	}
}

func (s *Source) endOfTopic() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endAt = time.Now()
}

// ended reports whether a terminated topic closed a connection lately.
func (s *Source) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.endAt.IsZero() && time.Since(s.endAt) < quickEnd
}

func (s *Source) deleted(topic string) {
	c := s.contender(topic)
	if c == nil {
		return
	}
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "pulsar: topic deleted", slog.String("topic", topic))
	c.died()
	poke(s.look)
}

func (s *Source) dropped(topic, line string) {
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "pulsar: message in chunks is incomplete after ChunkTimeout; it is lost",
		slog.String("topic", topic), slog.String("line", line))
}

// hidden logs the first message whose frame the library has not shown to the source, or which the source does not understand.
func (s *Source) hidden(ctx context.Context, id source.ID, m pulsar.Message) {
	s.unseen.Do(func() {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelError,
			"pulsar: form of messages is hidden; keys sent as bytes are read as base64, sequence ids are unknown, "+
				"tombstones sent alone are lost: use the version of pulsar-client-go that keystrand requires",
			slog.String("partition", id.String()), slog.String("id", fmt.Sprint(ack.PositionOf(m.ID()))),
			slog.String("producer", m.ProducerName()))
	})
}
