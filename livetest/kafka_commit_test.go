//go:build unix

package livetest

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// TestLiveKafkaMetadataComesBackByteForByte: what a commit says is what the broker keeps and what the next owner is told.
func TestLiveKafkaMetadataComesBackByteForByte(t *testing.T) {
	k := newKafka(t, "KEYSTRAND_KAFKA", "kafka")
	for _, c := range []struct {
		name   string
		limit  int
		ranges int
	}{
		{"no range", 0, 0},
		{"some ranges", 0, 100},
		{"more than a broker keeps", 0, 6_000},
		{"a wish of 8 KiB", 8 << 10, 6_000},
		{"a limit of our own", 300, 6_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
			defer cancel()
			topic, err := k.NewStream(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			cfg := kafka.Config{MetadataLimit: c.limit, SessionTimeout: 6 * time.Second}
			s, p := acceptOne(ctx, t, k, topic, cfg)

			// Gaps without a pattern, which take the most room.
			progress := &commit.Progress{Frontier: 10}
			at := int64(10)
			for i := range c.ranges {
				from := at + 1 + int64(mix(1, uint64(i))%7)
				at = from + 1 + int64(mix(2, uint64(i))%5)
				progress.Ahead = append(progress.Ahead, commit.Range{From: from, To: at})
			}
			stored, err := p.Commit(ctx, progress)
			if err != nil {
				t.Fatal(err)
			}
			sent := *progress
			sent.Log, sent.Epoch = p.Restored().Log, p.ID().Epoch
			kept := metadata(ctx, t, k, topic)
			limit := 4096 // of the broker
			if c.limit > 0 {
				limit = min(limit, c.limit)
			}
			if len(kept) > limit {
				t.Errorf("the broker keeps %d bytes, the limit is %d", len(kept), limit)
			}
			// The text is that of the codec for the room it had: of all limits that are possible, one gives these bytes.
			same := false
			for l := len(kept); l <= limit && !same; l++ {
				text, claims := commit.Encode(&sent, l)
				same = text == kept && claims == stored
			}
			if !same {
				t.Errorf("the broker keeps %q, which Encode gives for no limit from %d to %d (Stored is %+v)", kept, len(kept), limit, stored)
			}
			if c.ranges == 6_000 && (stored.Replays == 0 || len(kept) < limit/2) {
				t.Errorf("%d bytes are used of %d, a crash would replay %d", len(kept), limit, stored.Replays)
			}
			t.Logf("%d ranges: %d bytes, a crash would replay %d", c.ranges, len(kept), stored.Replays)

			decoded, err := commit.Decode(kept)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Release(ctx); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			// The next owner's log ends below 10, but what it is told does not depend on that.
			s, p = acceptOne(ctx, t, k, topic, cfg)
			got := p.Restored()
			if got.Frontier != 10 || got.Log != decoded.Log || got.Epoch <= decoded.Epoch || !slices.Equal(got.Ahead, decoded.Ahead) {
				t.Errorf("restored frontier %d, log %q, epoch %d, %d ranges; the broker kept %d, %q, %d, %d", got.Frontier, got.Log, got.Epoch, len(got.Ahead),
					decoded.Frontier, decoded.Log, decoded.Epoch, len(decoded.Ahead))
			}
			if err := p.Release(ctx); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func acceptOne(ctx context.Context, t *testing.T, k *kafkaCluster, topic string, cfg kafka.Config) (*kafka.Source, source.Partition) {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := kafka.New(k.brokers, topic+"-group", []string{topic}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

// metadata asks the broker, with another client.
func metadata(ctx context.Context, t *testing.T, k *kafkaCluster, topic string) string {
	t.Helper()
	offsets, err := kadm.NewClient(k.client).FetchOffsets(ctx, topic+"-group")
	if err != nil {
		t.Fatal(err)
	}
	o, found := offsets.Lookup(topic, 0)
	if !found || o.At != 10 {
		t.Fatalf("offset %d is committed, want 10", o.At)
	}
	return o.Metadata
}
