package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
)

// heartbeatRequest is kafka-go's, but for where it goes. The library forgets to send its own to the coordinator: some broker
// gets it, and answers in all clusters with more than one that it is not the coordinator.
type heartbeatRequest heartbeat.Request

// ApiKey is part of protocol.Message.
//
//nolint:revive // the name is the library's
func (r *heartbeatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// Group is part of protocol.GroupMessage: it goes to the coordinator of the group, which is asked for each time.
func (r *heartbeatRequest) Group() string { return r.GroupID }

// beat sends one heartbeat. A rebalance under way is a good answer: it is why we hand over, and it resets the session's
// clock as any answer does.
func (g *generation) beat(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := g.s.transport.RoundTrip(ctx, g.s.client.Addr,
		&heartbeatRequest{GroupID: g.s.group, GenerationID: g.id, MemberID: g.member})
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

// heartbeatError finds the error of a heartbeat, which kafka-go hides: its response codec reads error code and throttle
// time in the wrong order, so an error of 27 arrives as a throttle time of 27 ms, and never as an error. The real throttle time is
// in the upper 16 bits.
func heartbeatError(resp *heartbeat.Response) error {
	if code := kafkago.Error(int16(resp.ThrottleTimeMs)); code != 0 {
		return code
	}
	if resp.ThrottleTimeMs == 0 && resp.ErrorCode != 0 {
		return kafkago.Error(resp.ErrorCode) // version 0, which has no throttle time
	}
	return nil
}
