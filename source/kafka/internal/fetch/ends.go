package fetch

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// EpochEnds returns how far the records of a leader epoch, and those before them, are in the log, for partitions of one
// topic given with their epochs: below that offset it is the log in which that epoch was written, above it another one
// (KIP-101). A partition is left out where the broker does not know: retention has taken the epoch, or it is too old.
// Faults that pass are retried until ctx ends.
func EpochEnds(ctx context.Context, cfg Config, topic string, epochs map[int32]int32) (map[int32]int64, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var ends map[int32]int64
	err := retry(ctx, func() (err error) {
		ends, err = cfg.epochEnds(ctx, topic, epochs)
		return err
	})
	if err != nil {
		return nil, named(fmt.Errorf("asking for the ends of leader epochs: %w", err), topic)
	}
	return ends, nil
}

func (c *Config) epochEnds(ctx context.Context, topic string, epochs map[int32]int32) (map[int32]int64, error) {
	cl, err := c.askMetadata(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	t := cl.topics[topic]
	if t.err != nil {
		return nil, t.err
	}
	leaders := map[int32]map[int32]int32{}
	for p, epoch := range epochs {
		info, ok := t.partitions[p]
		switch {
		case !ok:
			return nil, fmt.Errorf("partition %d: %w", p, kafka.UnknownTopicOrPartition)
		case info.leader < 0:
			return nil, fmt.Errorf("partition %d: %w", p, kafka.LeaderNotAvailable)
		}
		if leaders[info.leader] == nil {
			leaders[info.leader] = map[int32]int32{}
		}
		leaders[info.leader][p] = epoch
	}
	ends := make(map[int32]int64, len(epochs))
	for leader, ps := range leaders {
		v, err := c.askVersions(ctx, leader)
		if err != nil {
			return nil, err
		}
		if v[keyEpochEnds] < versionEpochEnds {
			continue
		}
		if err := c.askEpochEnds(ctx, leader, topic, ps, ends); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// versionEpochEnds is the version of OffsetForLeaderEpoch written here, which Kafka 2.3 to 4.x speak.
const versionEpochEnds = 3

func (c *Config) askEpochEnds(ctx context.Context, leader int32, topic string, epochs map[int32]int32, ends map[int32]int64) error {
	var w writer
	w.i32(-1) // a consumer, no replica
	w.length(1)
	w.string(topic)
	w.length(len(epochs))
	for p, epoch := range epochs {
		w.i32(p)
		w.i32(-1) // the leader's present epoch: any
		w.i32(epoch)
	}
	x := &exchange{key: keyEpochEnds, version: versionEpochEnds, broker: leader, body: w.b}
	if err := c.do(ctx, x, c.RequestTimeout); err != nil {
		return err
	}
	r := x.payload()
	r.i32() // throttled
	for n := r.length(); n > 0 && r.err == nil; n-- {
		r.string()
		for n := r.length(); n > 0 && r.err == nil; n-- {
			code, p := r.i16(), r.i32()
			r.i32() // the largest epoch that is not above the one asked for
			end := r.i64()
			if code != 0 {
				return fmt.Errorf("partition %d: %w", p, kafka.Error(code))
			}
			if end >= 0 && r.err == nil {
				ends[p] = end
			}
		}
	}
	return malformed("OffsetForLeaderEpoch", r.err)
}
