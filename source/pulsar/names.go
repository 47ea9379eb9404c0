package pulsar

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// sameAs returns a function that reports whether a name means this topic.
func sameAs(topic string) func(string) bool {
	return func(other string) bool { return pulsarname.Full(other) == pulsarname.Full(topic) }
}

// checkTopics returns all errors in the names of the topics to read.
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
			if n, of := strings.CutPrefix(pulsarname.Full(t), pulsarname.Full(whole)+pulsarname.PartitionSuffix); of && pulsarname.IsNumber(n) {
				errs = append(errs, fmt.Errorf("pulsar: topic %q is a partition of %q, which is given too and includes it", t, whole))
			}
		}
	}
	return errors.Join(errs...)
}
