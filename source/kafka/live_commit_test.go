package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka"
)

// TestLiveKafkaMetadataComesBackByteForByte: the broker keeps a commit, and tells it to the next owner, unchanged.
func TestLiveKafkaMetadataComesBackByteForByte(t *testing.T) {
	brokers := []string{liveEnv(t, "KEYSTRAND_KAFKA")}
	admin := kadm.NewClient(newClient(t, brokers, (&net.Dialer{}).DialContext))
	for _, c := range []struct {
		name          string
		limit, ranges int
	}{
		{"no range", 0, 0},
		{"some ranges", 0, 100},
		{"more than a broker keeps", 0, 6_000},
		{"a wish of 8 KiB", 8 << 10, 6_000},
		{"a limit of our own", 300, 6_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // real time: hang guard
			defer cancel()
			topic := fmt.Sprintf("metadata-%d", time.Now().UnixNano())
			if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = admin.DeleteTopic(context.Background(), topic) })
			// Gaps without a pattern need the most room.
			progress := &commit.Progress{Frontier: 10}
			dice := rand.New(rand.NewPCG(1, 2))
			for at := int64(10); len(progress.Ahead) < c.ranges; {
				from := at + 1 + dice.Int64N(7)
				at = from + 1 + dice.Int64N(5)
				progress.Ahead = append(progress.Ahead, commit.Range{From: from, To: at})
			}
			var stored commit.Stored
			sent := *progress
			own := func(use func(restored *commit.Progress, commit func() error) error) {
				t.Helper()
				s, err := kafka.New(brokers, topic+"-group", []string{topic}, kafka.Config{
					MetadataLimit: c.limit, SessionTimeout: 6 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				p, err := s.Accept(ctx)
				if err != nil {
					t.Fatal(err)
				}
				sent.Epoch = p.ID().Epoch
				err = use(p.Restored(), func() (err error) { stored, err = p.Commit(ctx, progress); return err })
				if err = errors.Join(err, p.Release(ctx), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
			own(func(restored *commit.Progress, commit func() error) error {
				sent.Log = restored.Log
				return commit()
			})
			offsets, err := admin.FetchOffsets(ctx, topic+"-group")
			if err != nil {
				t.Fatal(err)
			}
			o, _ := offsets.Lookup(topic, 0)
			kept, limit := o.Metadata, 4096 // of the broker
			if c.limit > 0 {
				limit = min(limit, c.limit)
			}
			// The text is that of the codec for the room it had: one of the possible limits gives these bytes.
			same := false
			for l := len(kept); l <= limit && !same; l++ {
				text, claims := commit.Encode(&sent, l)
				same = text == kept && claims == stored
			}
			if !same || o.At != 10 {
				t.Errorf("the broker keeps %d and %q, which Encode gives for no limit up to %d (Stored is %+v)", o.At, kept, limit, stored)
			}
			if c.ranges == 6_000 && (stored.Replays == 0 || len(kept) < limit/2) {
				t.Errorf("%d bytes are used of %d, a crash would replay %d", len(kept), limit, stored.Replays)
			}
			want, err := commit.Decode(kept)
			if err != nil {
				t.Fatal(err)
			}
			own(func(got *commit.Progress, _ func() error) error {
				if got.Frontier != 10 || got.Log != want.Log || got.Epoch <= want.Epoch || !slices.Equal(got.Ahead, want.Ahead) {
					t.Errorf("restored %+v, the broker kept %+v", got, want)
				}
				return nil
			})
		})
	}
}

// The brokers of kafka3 keep up to 32,767 bytes of metadata.
func TestLiveClaimKeepsWhatIsStored(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA3")
	admin := kadm.NewClient(newClient(t, brokers, (&net.Dialer{}).DialContext))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // real time: hang guard
	defer cancel()
	topic := fmt.Sprintf("claim-%d", time.Now().UnixNano())
	if _, err := admin.CreateTopic(ctx, 1, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.DeleteTopic(context.Background(), topic) })
	ahead := everyOther(500_000, 64)
	for round := range 3 {
		s, err := kafka.New(brokers, topic, []string{topic}, kafka.Config{SessionTimeout: 6 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			for stored := (commit.Stored{More: true}); stored.More; {
				if stored, err = p.Commit(ctx, &commit.Progress{Ahead: ahead}); err != nil {
					t.Fatal(err)
				}
			}
		}
		offsets, err := admin.FetchOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := offsets.Lookup(topic, 0)
		if kept, err := commit.Decode(o.Metadata); err != nil || !slices.Equal(kept.Ahead, ahead) {
			t.Errorf("owner %d: %d bytes are stored, which are not all that is settled: %v", round, len(o.Metadata), err)
		}
		if err := errors.Join(p.Release(ctx), s.Close()); err != nil { // without another commit, as in a crash
			t.Fatal(err)
		}
	}
}
