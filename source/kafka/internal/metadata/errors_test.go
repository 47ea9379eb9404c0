package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

func TestFatalErrorsAreThoseThatCannotHeal(t *testing.T) {
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: false, kafka.Unknown: false, kafka.SASLAuthenticationFailed: true,
		kafka.UnsupportedSASLMechanism: true, kafka.TopicAuthorizationFailed: true, kafka.UnsupportedVersion: true,
		errors.New("connection reset"): false, context.DeadlineExceeded: false, metadata.ErrRecreated: true,
	} {
		if got := metadata.Fatal(err); got != want {
			t.Errorf("%v: fatal %v", err, got)
		}
	}
}
