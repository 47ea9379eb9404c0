package metadata_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// partitions returns the number of partitions of each topic.
func partitions(ctx context.Context, c metadata.Client, topics []string) (map[string]int32, error) {
	found, err := c.Topics(ctx, topics)
	counts := make(map[string]int32, len(found))
	for name, t := range found {
		counts[name] = t.Partitions
	}
	return counts, err
}

func TestTopicsNamesWhatIsMissingAndCreatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kafkatest.NewBroker(t, kfake.SeedTopics(3, "t"), kfake.SeedTopics(5, "u"), kfake.AllowAutoTopicCreation())
		counts, err := partitions(t.Context(), k.Client, []string{"t", "absent", "u", "t"})
		if !errors.Is(err, metadata.ErrUnknownTopic) || !strings.Contains(err.Error(), "absent") || strings.Contains(err.Error(), "topic u") {
			t.Errorf("error %v", err)
		}
		if want := map[string]int32{"t": 3, "u": 5}; !maps.Equal(counts, want) {
			t.Errorf("partitions %v, want %v", counts, want)
		}
		if k.TopicInfo("absent") != nil {
			t.Error("asking has made the topic")
		}
		go func() {
			time.Sleep(2 * time.Second) // as on a broker that has just started
			if err := k.CreateTopic("late", 1, nil); err != nil {
				t.Error(err)
			}
		}()
		if counts, err = partitions(t.Context(), k.Client, []string{"late"}); err != nil || counts["late"] != 1 {
			t.Errorf("partitions %v, %v", counts, err)
		}
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "u", Err: kerr.TopicAuthorizationFailed, Count: -1})
		var denied *metadata.PermissionError
		if _, err = partitions(t.Context(), k.Client, []string{"t", "u"}); !errors.As(err, &denied) || denied.Topic != "u" {
			t.Errorf("error %v", err)
		}
	})
}

func TestTopicsEndsWithItsContextAndTellsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kafkatest.NewBroker(t, kfake.SeedTopics(1, "t"))
		k.Client.Brokers = []string{"127.0.0.1:1"}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := partitions(ctx, k.Client, []string{"t"})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("error %v", err)
		}
		t.Log(err)
	})
}
