package fetch

import "context"

// Topic is what the cluster says about a topic.
type Topic struct {
	// Partitions is how many there are: numbers 0 to Partitions-1.
	Partitions int32
	// LogID is the identity of the topic's log, made of its topic id: it changes when the topic is deleted and made
	// again. Empty where brokers know no topic ids (before Kafka 2.8).
	LogID string
}

// Topics asks about topics without creating any. Faults that pass are retried until ctx ends. A topic that does not
// exist is an error that wraps ErrUnknownTopic and names it, one that may not be described a *PermissionError; all are
// joined. The topics that were found are returned beside the error.
func Topics(ctx context.Context, cfg Config, topics []string) (map[string]Topic, error) {
	return nil, ErrUnknownTopic
}

// Partitions returns the number of partitions of each topic. Errors are those of [Topics].
func Partitions(ctx context.Context, cfg Config, topics []string) (map[string]int32, error) {
	found, err := Topics(ctx, cfg, topics)
	counts := make(map[string]int32, len(found))
	for name, t := range found {
		counts[name] = t.Partitions
	}
	return counts, err
}

// LogID returns the identity of a topic's log, see [Topic]. Errors are those of [Topics].
func LogID(ctx context.Context, cfg Config, topic string) (string, error) {
	found, err := Topics(ctx, cfg, []string{topic})
	return found[topic].LogID, err
}
