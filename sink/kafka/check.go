package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/kafkanet"
	"github.com/keystrand/keystrand/internal/nearest"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/sink"
)

var (
	_ sink.Checker  = (*Sink)(nil)
	_ sink.Reporter = (*Sink)(nil)
)

// missingFor is how long a topic that does not exist is looked for: some brokers know a new topic later than others.
const missingFor = time.Second

// String returns the name of the sink in logs and snapshots.
func (s *Sink) String() string {
	if s.topic == "" {
		return "kafka topics by stream"
	}
	return "kafka topic " + s.topic
}

// Check implements [sink.Checker]: the brokers answer, the topic exists, and the credentials may write to it. With
// Config.ByStream it checks only that the brokers answer. A port of another protocol is an error for good unless another broker
// answers.
func (s *Sink) Check(ctx context.Context) error {
	others := s.cluster.brokers
	for first := time.Now(); ; {
		err := s.check(ctx)
		if err != nil && cureFor(err) == heal && !wrongPort(err) {
			if port := s.diagnose(ctx, err); port != nil {
				err = describe(&s.cfg, s.topic, -1, port)
			}
		}
		if others--; others > 0 && wrongPort(err) {
			continue // the next request goes to a broker that has not failed
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, kafka.UnknownTopicOrPartition) && time.Since(first) < missingFor {
			if pause.For(ctx, missingFor/8) != nil {
				return err // the pipeline checks again
			}
			continue
		}
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			err = fmt.Errorf("%w%s", err, s.hint(ctx))
		} else if cureFor(err) == heal && !wrongPort(err) {
			return err
		}
		return keystrand.Permanent(err)
	}
}

// diagnose returns an error if the port that cause comes from needs another configuration.
func (s *Sink) diagnose(ctx context.Context, cause error) error {
	if failed, ok := errors.AsType[*kafkanet.Error](cause); ok {
		return s.cluster.net.Diagnose(ctx, failed.Address, s.cfg.SASL != nil, failed)
	}
	for _, w := range s.cluster.net.Waits() {
		if port := s.cluster.net.Diagnose(ctx, w.Address, s.cfg.SASL != nil, cause); port != nil {
			return port
		}
	}
	return nil
}

func (s *Sink) check(ctx context.Context) error {
	if s.topic == "" {
		_, err := s.cluster.metadata(ctx, &metadata.Request{TopicNames: []string{}})
		return describe(&s.cfg, "", -1, err)
	}
	md, err := s.cluster.metadata(ctx, &metadata.Request{TopicNames: []string{s.topic}, IncludeTopicAuthorizedOperations: true})
	if err != nil {
		return describe(&s.cfg, s.topic, -1, err)
	}
	i := slices.IndexFunc(md.Topics, func(t metadata.ResponseTopic) bool { return t.Name == s.topic })
	switch {
	case i < 0:
		return describe(&s.cfg, s.topic, -1, kafka.UnknownTopicOrPartition)
	case md.Topics[i].ErrorCode != 0:
		return describe(&s.cfg, s.topic, -1, kafka.Error(md.Topics[i].ErrorCode))
	}
	const write = 1 << 4                                                          // the bit of AclOperation.WRITE
	if may := md.Topics[i].TopicAuthorizedOperations; may > 0 && may&write == 0 { // else the broker does not tell
		return describe(&s.cfg, s.topic, -1, kafka.TopicAuthorizationFailed)
	}
	return nil
}

// hint names the existing topic whose name is nearest.
func (s *Sink) hint(ctx context.Context) string {
	md, err := s.cluster.metadata(ctx, &metadata.Request{}) // all topics
	if err != nil {
		return ""
	}
	var names []string
	for i := range md.Topics {
		if name := md.Topics[i].Name; !strings.HasPrefix(name, "__") { // of Kafka's own
			names = append(names, name)
		}
	}
	near := nearest.Name(s.topic, names)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}

// checkName returns an error if Kafka refuses the name of a topic.
func checkName(topic string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	switch {
	case topic == "." || topic == "..":
		return fmt.Errorf("illegal name of a topic: %q: \".\" and \"..\" are reserved", topic)
	case len(topic) > 249:
		return fmt.Errorf("illegal name of a topic: %q: it has %d characters, more than 249", topic, len(topic))
	case strings.ContainsFunc(topic, func(r rune) bool { return !legal(r) }):
		return fmt.Errorf("illegal name of a topic: %q: use letters, digits, '.', '_' and '-'", topic)
	}
	return nil
}

// Trouble implements [sink.Reporter]. A request without an answer for some time counts.
func (s *Sink) Trouble() error {
	s.mu.Lock()
	writers := slices.Clone(s.writers)
	s.mu.Unlock()
	for _, w := range writers {
		if leader, d, late := w.waits.Late(); late {
			return fmt.Errorf("kafka: broker %d has not answered a request to write for %v", leader, d)
		}
		if _, err := w.waits.Err(); err != nil {
			return err
		}
	}
	return nil
}
