package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
)

// heartbeatRequest is kafka-go's request, routed to the coordinator. The library routes its own to any broker, which answers
// in a cluster of several that it is not the coordinator.
type heartbeatRequest heartbeat.Request

// ApiKey implements [protocol.Message].
//
//nolint:revive // the name is the library's
func (r *heartbeatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// Group implements [protocol.GroupMessage]. The library looks up the coordinator for each request.
func (r *heartbeatRequest) Group() string { return r.GroupID }

// beat sends one heartbeat. The answer that a rebalance is under way is no error: it is why the partitions drain, and it
// extends the session as any answer does.
func (s *Session) beat(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := s.Cluster.RoundTrip(ctx, &heartbeatRequest{GroupID: s.Cluster.Group, GenerationID: s.ID, MemberID: s.Member})
	if err != nil {
		return err
	}
	r, ok := resp.(*heartbeat.Response)
	if !ok {
		return fmt.Errorf("a heartbeat was answered by a %T", resp)
	}
	err = heartbeatError(r)
	if errors.Is(err, kafkago.RebalanceInProgress) {
		return nil
	}
	return err
}

// heartbeatError returns the error of a heartbeat. kafka-go's codec reads error code and throttle time in the wrong order:
// error 27 arrives as a throttle time of 27 ms, and the real throttle time in the upper 16 bits.
func heartbeatError(resp *heartbeat.Response) error {
	if code := kafkago.Error(int16(resp.ThrottleTimeMs)); code != 0 {
		return code
	}
	if resp.ThrottleTimeMs == 0 && resp.ErrorCode != 0 {
		return kafkago.Error(resp.ErrorCode) // version 0, which has no throttle time
	}
	return nil
}
