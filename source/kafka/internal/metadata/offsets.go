package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Query asks for an offset of a partition. The zero value asks for the earliest.
type Query struct {
	// Latest asks for the end: the last stable offset when reading committed records only, else the high watermark.
	Latest bool
	// Time asks for the first record with this time or a later one; the end if there is none.
	Time time.Time
}

const (
	stampLatest   = -1
	stampEarliest = -2
)

func (q Query) stamp() int64 {
	switch {
	case q.Latest:
		return stampLatest
	case !q.Time.IsZero():
		return q.Time.UnixMilli()
	}
	return stampEarliest
}

// Offsets returns the offset of each query, by partition number, with one request for each leader. Transient errors are
// retried until ctx ends; then the error wraps the last one and context.Cause(ctx). A partition that does not exist is an
// error that wraps ErrUnknownTopic.
func (c Client) Offsets(ctx context.Context, topic string, queries map[int32]Query) (map[int32]int64, error) {
	stamps := make(map[int32]int64, len(queries))
	for p, q := range queries {
		stamps[p] = q.stamp()
	}
	found := make(map[int32]int64, len(queries))
	for len(stamps) > 0 {
		err := c.retry(ctx, "find offsets", func() error { return c.offsets(ctx, topic, stamps, found) })
		if err != nil {
			return nil, Named(fmt.Errorf("find offsets: %w", err), topic)
		}
		clear(stamps)
		for p, offset := range found {
			if offset < 0 { // no record is that new
				stamps[p] = stampLatest
			}
		}
	}
	return found, nil
}

// offsets asks each leader once and moves the answers from stamps to found.
func (c *Client) offsets(ctx context.Context, topic string, stamps, found map[int32]int64) error {
	cl, err := c.askMetadata(ctx, []string{topic})
	if err != nil {
		return err
	}
	t := cl.topics[topic]
	if t.err != nil {
		return t.err
	}
	leaders := map[int32]map[int32]int64{}
	epochs := map[int32]int32{}
	for p, stamp := range stamps {
		info, ok := t.partitions[p]
		switch {
		case !ok:
			return fmt.Errorf("partition %d: %w", p, kafka.UnknownTopicOrPartition)
		case info.leader < 0:
			return fmt.Errorf("partition %d: %w", p, kafka.LeaderNotAvailable)
		}
		if leaders[info.leader] == nil {
			leaders[info.leader] = map[int32]int64{}
		}
		leaders[info.leader][p], epochs[p] = stamp, info.epoch
	}
	for leader, ps := range leaders {
		v, err := c.Versions(ctx, leader)
		if err != nil {
			return err
		}
		q := listRequest{topic: topic, stamps: ps, epochs: epochs, committed: !c.ReadUncommitted}
		if q.version, err = v.Choose(wire.KeyListOffsets, 2, newestList); err != nil {
			return err
		}
		if err := c.list(ctx, leader, &q, found); err != nil {
			return err
		}
		for p := range ps {
			delete(stamps, p)
		}
	}
	return nil
}

// newestList is the newest version of the ListOffsets request written here.
const newestList = 5

type listRequest struct {
	version   int16
	topic     string
	stamps    map[int32]int64
	epochs    map[int32]int32
	committed bool
}

// list sends q to a leader and adds the answers to found: -1 where there is no such record.
func (c *Client) list(ctx context.Context, leader int32, q *listRequest, found map[int32]int64) error {
	x := &wire.Exchange{Key: wire.KeyListOffsets, Version: q.version, Broker: leader, Body: q.encode()}
	if err := c.Do(ctx, x, 0); err != nil {
		return err
	}
	r := x.Payload()
	r.I32() // throttled
	answers := 0
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		r.Text()
		for n := r.Length(); n > 0 && r.Err == nil; n-- {
			p, code := r.I32(), r.I16()
			r.I64() // time of the record
			offset := r.I64()
			if q.version >= 4 {
				r.I32() // leader epoch of the record
			}
			if code != 0 {
				return fmt.Errorf("partition %d: %w", p, kafka.Error(code))
			}
			found[p] = offset
			answers++
		}
	}
	if r.Err == nil && answers != len(q.stamps) {
		return fmt.Errorf("broker returned %d of %d partitions", answers, len(q.stamps))
	}
	return wire.Malformed("ListOffsets", r.Err)
}

func (q *listRequest) encode() []byte {
	var w wire.Writer
	w.I32(-1) // a consumer, no replica
	w.Bool(q.committed)
	w.Length(1)
	w.Text(q.topic)
	w.Length(len(q.stamps))
	for p, stamp := range q.stamps {
		w.I32(p)
		if q.version >= 4 {
			epoch, ok := q.epochs[p]
			if !ok {
				epoch = -1
			}
			w.I32(epoch)
		}
		w.I64(stamp)
	}
	return w.B
}
