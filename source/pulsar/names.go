package pulsar

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// sameAs tells which names mean the same topic as this one: brokers know each by its full name.
func sameAs(topic string) func(string) bool {
	return func(other string) bool { return full(other) == full(topic) }
}

// checkTopics returns all that is wrong with the topics to read.
func checkTopics(topics []string) error {
	var errs []error
	for i, t := range topics {
		if err := pulsarname.CheckTopic(t); err != nil {
			errs = append(errs, fmt.Errorf("pulsar: %w", err))
			continue
		}
		if j := slices.IndexFunc(topics[:i], sameAs(t)); j >= 0 {
			errs = append(errs, fmt.Errorf("pulsar: topic %q is given twice, also as %q", t, topics[j]))
		}
		for _, whole := range topics {
			if n, of := strings.CutPrefix(full(t), full(whole)+pulsarname.PartitionSuffix); of && pulsarname.IsNumber(n) {
				errs = append(errs, fmt.Errorf("pulsar: topic %q is a partition of %q, which is given, too, and read with all of them", t, whole))
			}
		}
	}
	return errors.Join(errs...)
}
