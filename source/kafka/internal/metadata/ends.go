package metadata

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// EpochEnds returns, for each partition with a leader epoch, the offset at which the records of this epoch end (KIP-101).
// Below that offset the log is the one in which the epoch wrote, above it another one. A partition is left out if
// retention has deleted the epoch, or if the broker is too old. Transient errors are retried until ctx ends.
func (c Client) EpochEnds(ctx context.Context, topic string, epochs map[int32]int32) (map[int32]int64, error) {
	var ends map[int32]int64
	err := c.retry(ctx, "find ends of leader epochs", func() (err error) {
		ends, err = c.epochEnds(ctx, topic, epochs)
		return err
	})
	if err != nil {
		return nil, Named(fmt.Errorf("find the ends of leader epochs: %w", err), topic)
	}
	return ends, nil
}

func (c *Client) epochEnds(ctx context.Context, topic string, epochs map[int32]int32) (map[int32]int64, error) {
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
		v, err := c.Versions(ctx, leader)
		if err != nil {
			return nil, err
		}
		if v[wire.KeyEpochEnds] < versionEpochEnds {
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

func (c *Client) askEpochEnds(ctx context.Context, leader int32, topic string, epochs map[int32]int32, ends map[int32]int64) error {
	var w wire.Writer
	w.I32(-1) // a consumer, no replica
	w.Length(1)
	w.Text(topic)
	w.Length(len(epochs))
	for p, epoch := range epochs {
		w.I32(p)
		w.I32(-1) // the leader's present epoch: any
		w.I32(epoch)
	}
	x := &wire.Exchange{Key: wire.KeyEpochEnds, Version: versionEpochEnds, Broker: leader, Body: w.B}
	if err := c.Do(ctx, x, 0); err != nil {
		return err
	}
	r := x.Payload()
	r.I32() // throttled
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		r.Text()
		for n := r.Length(); n > 0 && r.Err == nil; n-- {
			code, p := r.I16(), r.I32()
			r.I32() // the largest epoch that is not above the one asked for
			end := r.I64()
			if code != 0 {
				return fmt.Errorf("partition %d: %w", p, kafka.Error(code))
			}
			if end >= 0 && r.Err == nil {
				ends[p] = end
			}
		}
	}
	return wire.Malformed("OffsetForLeaderEpoch", r.Err)
}
