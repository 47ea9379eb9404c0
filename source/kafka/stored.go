package kafka

import (
	"context"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// committed is what a broker keeps for a partition of a group.
type committed struct {
	offset      int64 // -1: nothing
	leaderEpoch int32 // -1: unknown
	metadata    string
}

// committed asks the coordinator what is committed, with metadata, which kafka-go's group does not tell.
func (s *Source) committed(ctx context.Context, names []partitionName) (map[partitionName]committed, error) {
	found := make(map[partitionName]committed, len(names))
	if len(names) == 0 {
		return found, nil
	}
	req := offsetFetch(s.group, names)
	err := s.retry(ctx, "read committed progress", func(ctx context.Context) error {
		resp, err := s.transport.RoundTrip(ctx, s.client.Addr, req)
		if err != nil {
			return err
		}
		r, ok := resp.(*offsetfetch.Response)
		if !ok {
			return fmt.Errorf("an answer of type %T", resp)
		}
		return readCommitted(r, names, found)
	})
	return found, err
}

func offsetFetch(group string, names []partitionName) *offsetfetch.Request {
	req := &offsetfetch.Request{GroupID: group}
	for _, n := range slices.SortedFunc(slices.Values(names), partitionName.Compare) {
		if len(req.Topics) == 0 || req.Topics[len(req.Topics)-1].Name != n.Topic {
			req.Topics = append(req.Topics, offsetfetch.RequestTopic{Name: n.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.PartitionIndexes = append(t.PartitionIndexes, n.Number)
	}
	return req
}

// readCommitted adds the answers for names to found. A group that the broker does not know, or not any more, has nothing
// committed; an answer that is missing is not one.
func readCommitted(r *offsetfetch.Response, names []partitionName, found map[partitionName]committed) error {
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
			found[partitionName{Topic: t.Name, Number: p.PartitionIndex}] = committed{
				offset: p.CommittedOffset, leaderEpoch: p.ComittedLeaderEpoch, metadata: p.Metadata,
			}
		}
	}
	for _, n := range names {
		if _, answered := found[n]; answered {
			continue
		}
		if !noGroup {
			return fmt.Errorf("the broker did not answer for %s/%d", n.Topic, n.Number)
		}
		found[n] = committed{offset: -1, leaderEpoch: -1}
	}
	return nil
}
