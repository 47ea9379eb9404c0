package progress

import (
	"context"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
)

// Committed is what a broker stores for one partition of a group.
type Committed struct {
	Offset      int64 // -1: nothing
	LeaderEpoch int32 // -1: unknown
	Metadata    string
}

// ReadCommitted asks the coordinator for the committed offsets, with their metadata. It retries until ctx ends.
func ReadCommitted(ctx context.Context, c *cluster.Client, names []assign.Partition) (map[assign.Partition]Committed, error) {
	found := make(map[assign.Partition]Committed, len(names))
	if len(names) == 0 {
		return found, nil
	}
	req := offsetFetch(c.Group, names)
	err := c.Retry(ctx, "read committed progress", func(ctx context.Context) error {
		resp, err := c.RoundTrip(ctx, req)
		if err != nil {
			return err
		}
		r, ok := resp.(*offsetfetch.Response)
		if !ok {
			return fmt.Errorf("unexpected response %T", resp)
		}
		return readCommitted(r, names, found)
	})
	return found, err
}

func offsetFetch(group string, names []assign.Partition) *offsetfetch.Request {
	req := &offsetfetch.Request{GroupID: group}
	for _, n := range slices.SortedFunc(slices.Values(names), assign.Partition.Compare) {
		if len(req.Topics) == 0 || req.Topics[len(req.Topics)-1].Name != n.Topic {
			req.Topics = append(req.Topics, offsetfetch.RequestTopic{Name: n.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.PartitionIndexes = append(t.PartitionIndexes, n.Number)
	}
	return req
}

// readCommitted adds the answers for names to found. Nothing is committed for a group that the broker does not know. A
// missing answer is an error.
func readCommitted(r *offsetfetch.Response, names []assign.Partition, found map[assign.Partition]Committed) error {
	noGroup := kafkago.Error(r.ErrorCode) == kafkago.GroupIdNotFound
	if r.ErrorCode != 0 && !noGroup {
		return kafkago.Error(r.ErrorCode)
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if code := kafkago.Error(p.ErrorCode); code == kafkago.GroupIdNotFound {
				p.CommittedOffset = -1
			} else if code != 0 {
				return fmt.Errorf("%s/%d: %w", t.Name, p.PartitionIndex, code)
			}
			found[assign.Partition{Topic: t.Name, Number: p.PartitionIndex}] = Committed{
				Offset: p.CommittedOffset, LeaderEpoch: p.ComittedLeaderEpoch, Metadata: p.Metadata,
			}
		}
	}
	for _, n := range names {
		if _, answered := found[n]; answered {
			continue
		}
		if !noGroup {
			return fmt.Errorf("the response does not contain %s/%d", n.Topic, n.Number)
		}
		found[n] = Committed{Offset: -1, LeaderEpoch: -1}
	}
	return nil
}
