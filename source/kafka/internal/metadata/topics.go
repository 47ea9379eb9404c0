package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// Topic describes a topic.
type Topic struct {
	// Partitions is how many there are: numbers 0 to Partitions-1.
	Partitions int32
	// LogID is the identity of the topic's log, made of its topic id: it changes when the topic is deleted and made
	// again. Empty with brokers before Kafka 2.8, which have no topic ids: nothing else distinguishes two logs of one
	// name for certain, and an identity that changes while the log is the same would make valid progress useless.
	LogID string
}

// Topics describes topics and creates none. Transient errors are retried until ctx ends; then the error wraps the last one
// and context.Cause(ctx). The error for a topic that does not exist wraps ErrUnknownTopic and names the topic; it is
// returned after 5 s, since a broker that has just started knows no topics. The error for a topic that may not be described
// is a *PermissionError. These errors are joined, and the topics that were found are returned with them.
func (c Client) Topics(ctx context.Context, topics []string) (map[string]Topic, error) {
	return c.TopicsWithin(ctx, topics, GoneAfter)
}

// TopicsWithin is Topics that returns the error for a topic that does not exist after patience.
func (c Client) TopicsWithin(ctx context.Context, topics []string, patience time.Duration) (map[string]Topic, error) {
	var found map[string]Topic
	var refused error
	begun := time.Now()
	err := c.retry(ctx, "topics", func() (err error) {
		found, refused, err = c.topics(ctx, topics)
		if err == nil && errors.Is(refused, ErrUnknownTopic) && time.Since(begun) < patience {
			return errUnheard
		}
		return err
	})
	if refused != nil {
		return found, refused
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: find topics at %v: %w", c.Brokers, err)
	}
	return found, nil
}

// Present is Topics that asks once and leaves out the topics that do not exist.
func (c Client) Present(ctx context.Context, topics []string) (map[string]Topic, error) {
	found, refused, err := c.topics(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("kafka: find topics at %v: %w", c.Brokers, err)
	}
	if _, denied := errors.AsType[*PermissionError](refused); denied || refused != nil && !errors.Is(refused, ErrUnknownTopic) {
		return found, refused
	}
	return found, nil
}

var errUnheard = errors.New("topic not known yet")

// topics asks once. refused has the permanent errors of single topics.
func (c *Client) topics(ctx context.Context, topics []string) (found map[string]Topic, refused, err error) {
	cl, err := c.askMetadata(ctx, topics)
	if err != nil {
		return nil, nil, err
	}
	found = make(map[string]Topic, len(topics))
	var errs []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(topics))) {
		t, ok := cl.topics[name]
		switch {
		case !ok || errors.Is(t.err, kafka.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("%w: %s", ErrUnknownTopic, name))
		case t.err != nil && Fatal(t.err):
			errs = append(errs, Named(t.err, name))
		case t.err != nil:
			return nil, nil, fmt.Errorf("topic %s: %w", name, t.err)
		default:
			found[name] = Topic{Partitions: int32(len(t.partitions)), LogID: t.id.String()}
		}
	}
	return found, errors.Join(errs...), nil
}

// Names returns the names of all topics that may be described, sorted, without Kafka's own. It asks once.
func (c Client) Names(ctx context.Context) ([]string, error) {
	cl, err := c.askMetadata(ctx, nil)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(cl.topics))
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "__") }), nil
}
