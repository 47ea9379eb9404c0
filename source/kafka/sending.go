package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"

	"github.com/keystrand/keystrand/commit"
)

// offer is a store as it is sent.
type offer struct {
	*store
	text   string
	stored commit.Stored
}

// send makes one request and settles what it decided. What it did not decide waits again, or a newer commit does in its
// place; the error says why. The request has a time limit of its own, not that of a caller: its outcome must become known.
//
// It reports whether something was stored, which alone proves that we were a member when it was asked for: no error does
// not, for everything may have been released meanwhile.
func (k *committer) send(ctx context.Context, batch []*offer) (stored bool, again error) {
	sending, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	began := time.Now()
	resp, err := k.g.s.transport.RoundTrip(sending, k.g.s.client.Addr, k.request(batch))
	var codes map[partitionName]int16
	if err == nil {
		codes = answers(resp)
	}
	for _, o := range batch {
		why := err
		if err == nil {
			code, answered := codes[o.name]
			if !answered {
				why = errors.New("the broker did not answer for a partition")
			} else {
				why = k.judge(o, code, len(batch))
			}
		}
		stored = stored || why == nil
		if retry := k.land(ctx, o, why); retry != nil {
			again = cmp.Or(again, retry)
		}
	}
	if stored {
		k.g.wasAlive(began)
	}
	return stored, again
}

// request is an OffsetCommit. kafka-go's own (Client.OffsetCommit) says leader epoch 0 for every offset, with which
// readers that check it go back after a leader change; its Generation carries no metadata.
func (k *committer) request(batch []*offer) *offsetcommit.Request {
	req := &offsetcommit.Request{
		GroupID:         k.g.s.group,
		GenerationID:    k.g.id,
		MemberID:        k.g.member,
		RetentionTimeMs: -1,
	}
	for _, o := range batch {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != o.name.Topic {
			req.Topics = append(req.Topics, offsetcommit.RequestTopic{Name: o.name.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, offsetcommit.RequestPartition{
			PartitionIndex:       o.name.Number,
			CommittedOffset:      o.progress.Frontier,
			CommitTimestamp:      -1,
			CommittedLeaderEpoch: o.leaderEpoch,
			CommittedMetadata:    o.text,
		})
	}
	return req
}

func answers(resp kafkago.Response) map[partitionName]int16 {
	codes := make(map[partitionName]int16)
	r, ok := resp.(*offsetcommit.Response)
	if !ok {
		return codes
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			codes[partitionName{Topic: t.Name, Number: p.PartitionIndex}] = p.ErrorCode
		}
	}
	return codes
}

// final is an error that sending again cannot heal.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// errSmaller says to send again at once, with less metadata.
var errSmaller = errors.New("the metadata is too large for the broker")

// judge says what an error code of a partition means: nil is stored, final is for the caller, all else is sent again.
//
// RebalanceInProgress: we are a member and others are not back yet. The codes of a coordinator that moves or loads, and
// of a partition whose broker does not know it yet, pass by themselves. Unknown codes are taken for passing too, the
// caller's ctx bounds them.
func (k *committer) judge(o *offer, code int16, together int) error {
	switch e := kafkago.Error(code); e {
	case 0:
		k.g.s.limit.accepted(len(o.text))
		return nil
	case kafkago.OffsetMetadataTooLarge:
		k.g.s.limit.refused(len(o.text))
		return errSmaller
	case kafkago.InvalidCommitOffsetSize: // the batch of the whole request
		if together == 1 {
			k.g.s.limit.refused(len(o.text))
		}
		k.mu.Lock()
		k.share = max(k.share/2, 1)
		k.mu.Unlock()
		return errSmaller
	case kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.FencedInstanceID:
		return final{fmt.Errorf("%w: %w", e, commit.ErrFenced)}
	default:
		if f := k.g.s.fatalCode(e); f != nil {
			return final{f}
		}
		return e
	}
}

// land ends the flight of a store: it is done, or it waits again. It returns why it, or the newer one that took its place,
// waits and is not sent at once.
func (k *committer) land(ctx context.Context, o *offer, err error) error {
	decided := err == nil
	var again error
	if f, ok := errors.AsType[final](err); ok {
		decided, err = true, f.error
	}
	k.mu.Lock()
	delete(k.flying, o.name)
	newer := k.waiting[o.name] != nil
	switch {
	case decided:
	case o.dropped || k.closed:
		decided, err = true, errFencedGeneration
	case newer:
		decided, again, err = true, err, errSuperseded
	default:
		k.waiting[o.name], again = o.store, err
	}
	k.mu.Unlock()
	if decided {
		o.store.stored = o.stored
		o.finish(err)
		if gone(err) {
			k.g.lost(ctx, err)
		}
	}
	if errors.Is(again, errSmaller) {
		return nil
	}
	return again
}
