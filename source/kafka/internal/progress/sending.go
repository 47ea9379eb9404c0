package progress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// encoded is a commit as it is sent.
type encoded struct {
	*Commit
	text   string
	stored commit.Stored
}

// send makes one request and finishes the commits that it decided. The others wait again, or newer ones in their place; again
// says why. The request has its own timeout, not a caller's: its outcome must become known.
//
// stored reports whether a commit was stored. Only that proves the membership at the time of the request: without an error all
// partitions may have been released meanwhile.
func (k *Committer) send(ctx context.Context, batch []*encoded) (stored bool, again error) {
	sending, cancel := context.WithTimeout(ctx, cluster.RequestTimeout)
	defer cancel()
	began := time.Now()
	resp, err := k.session.Cluster.RoundTrip(sending, k.request(batch))
	codes := answers(resp)
	for _, o := range batch {
		why := err
		if code, answered := codes[o.Partition]; answered {
			why = k.judge(o, code, len(batch))
		} else if err == nil {
			why = errors.New("the response does not contain the partition")
		}
		stored = stored || why == nil
		if retry := k.land(ctx, o, why); retry != nil {
			again = cmp.Or(again, retry)
		}
	}
	if stored {
		k.session.Answered(began)
	}
	return stored, again
}

// request returns an OffsetCommit. kafka-go's Client.OffsetCommit sends leader epoch 0 for every offset, which makes readers
// that check it go back after a leader change. Its Generation sends no metadata.
func (k *Committer) request(batch []*encoded) *offsetcommit.Request {
	req := &offsetcommit.Request{
		GroupID:         k.session.Cluster.Group,
		GenerationID:    k.session.ID,
		MemberID:        k.session.Member,
		RetentionTimeMs: -1,
	}
	for _, o := range batch {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != o.Partition.Topic {
			req.Topics = append(req.Topics, offsetcommit.RequestTopic{Name: o.Partition.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, offsetcommit.RequestPartition{
			PartitionIndex:       o.Partition.Number,
			CommittedOffset:      o.Progress.Frontier,
			CommitTimestamp:      -1,
			CommittedLeaderEpoch: o.LeaderEpoch,
			CommittedMetadata:    o.text,
		})
	}
	return req
}

func answers(resp protocol.Message) map[assign.Partition]int16 {
	codes := make(map[assign.Partition]int16)
	r, ok := resp.(*offsetcommit.Response)
	if !ok {
		return codes
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			codes[assign.Partition{Topic: t.Name, Number: p.PartitionIndex}] = p.ErrorCode
		}
	}
	return codes
}

// errSmaller asks to retry without backoff, with less metadata.
var errSmaller = errors.New("the metadata is too large for the broker")

// judge interprets the error code of a partition: nil is stored, a permanent error is for the caller, all else is retried.
//
// RebalanceInProgress: this is a member and others have not joined again yet. The codes of a coordinator that moves or loads,
// and of a partition that its broker does not know yet, heal. Unknown codes are retried until the caller's ctx ends.
func (k *Committer) judge(o *encoded, code int16, together int) error {
	switch e := kafkago.Error(code); e {
	case 0:
		k.limit.Accepted(len(o.text))
		return nil
	case kafkago.OffsetMetadataTooLarge:
		k.limit.refused(len(o.text))
		return errSmaller
	case kafkago.InvalidCommitOffsetSize: // the batch of the whole request
		if together == 1 {
			k.limit.refused(len(o.text))
		}
		k.mu.Lock()
		k.most = max(k.most/2, 1)
		k.mu.Unlock()
		return errSmaller
	case kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.FencedInstanceID:
		return backoff.Permanent(fmt.Errorf("%w: %w", e, commit.ErrFenced))
	default:
		if e == kafkago.UnknownTopicOrPartition && o.unknown() {
			return backoff.Permanent(fmt.Errorf("%w (%w)", metadata.ErrUnknownTopic, e))
		}
		if f := k.session.Cluster.FatalCode(e); f != nil {
			return backoff.Permanent(f)
		}
		return e
	}
}

// land takes a commit out of sent: it is finished, or it waits again. It returns why it, or the newer one in its place, waits
// and is not sent at once.
func (k *Committer) land(ctx context.Context, o *encoded, err error) error {
	decided := err == nil
	var again error
	if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
		decided, err = true, p.Err
	}
	k.mu.Lock()
	delete(k.sent, o.Partition)
	newer := k.waiting[o.Partition] != nil
	switch {
	case decided:
	case o.dropped || k.closed:
		decided, err = true, errFenced
	case newer:
		decided, again, err = true, err, errSuperseded
	default:
		k.waiting[o.Partition], again = o.Commit, err
	}
	k.mu.Unlock()
	if decided {
		o.Commit.text, o.Commit.stored = o.text, o.stored
		o.finish(err)
		if group.Gone(err) {
			k.session.Fence(ctx, err)
		}
	}
	if errors.Is(again, errSmaller) {
		return nil
	}
	return again
}
