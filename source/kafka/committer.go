package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"

	"github.com/keystrand/keystrand/commit"
)

// committer sends the commits of one generation: one request at a time, with everything that waits, so that what
// partitions commit on a common tick travels together and a later commit of a partition never overtakes an earlier one.
//
// It gathers until every partition that is owned has something to commit, at most for linger after the first.
//
// A commit whose answer was lost is sent again, or replaced by a newer one of its partition, which says more. It cannot
// be called back: a broker that was paused may still store it later, after a newer one. That costs replays after a crash
// until the next commit, never a message; a request of an older generation the broker refuses.
type committer struct {
	g    *generation
	kick chan struct{} // room for one

	mu      sync.Mutex
	waiting map[partitionName]*store // the newest of each partition
	flying  map[partitionName]*store // in the request under way
	closed  bool
	share   int // bytes of metadata in one request
}

// store is one commit of one partition.
type store struct {
	name        partitionName
	progress    *commit.Progress
	leaderEpoch int32 // of the last message below the frontier, -1: unknown
	at          bool  // of a claim: do not wait for others

	// Written by the committer before done is closed.
	stored commit.Stored
	err    error
	done   chan struct{}

	dropped bool // released meanwhile: do not send it again. Guarded by committer.mu
}

const (
	linger = 5 * time.Millisecond
	// maxShare bounds the metadata of one request. The broker writes a request's offsets as one batch, and a batch
	// above its max.message.bytes (1 MiB by default) is refused as a whole.
	maxShare = 512 << 10
)

var errSuperseded = errors.New("a newer commit of the partition took its place")

func newCommitter(g *generation) *committer {
	return &committer{
		g:       g,
		kick:    make(chan struct{}, 1),
		waiting: make(map[partitionName]*store),
		flying:  make(map[partitionName]*store),
		share:   maxShare,
	}
}

// commit returns when c is stored or refused, or when ctx ends: then its outcome is unknown.
func (k *committer) commit(ctx context.Context, c *store) (commit.Stored, error) {
	if err := k.add(c); err != nil {
		return commit.Stored{}, err
	}
	return k.wait(ctx, c)
}

// commitAll is commit for several partitions at once. All are in one request.
func (k *committer) commitAll(ctx context.Context, all []*store) error {
	for _, c := range all {
		c.at = true
		if err := k.add(c); err != nil {
			return err
		}
	}
	var errs []error
	for _, c := range all {
		if _, err := k.wait(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("%s/%d: %w", c.name.Topic, c.name.Number, err))
		}
	}
	return errors.Join(errs...)
}

func (k *committer) add(c *store) error {
	c.done = make(chan struct{})
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return errFencedGeneration
	}
	old := k.waiting[c.name]
	k.waiting[c.name] = c
	k.mu.Unlock()
	if old != nil {
		old.finish(errSuperseded) // whoever waited for it has given up
	}
	poke(k.kick)
	return nil
}

func (k *committer) wait(ctx context.Context, c *store) (commit.Stored, error) {
	select {
	case <-c.done:
		return c.stored, c.err
	case <-ctx.Done():
		return commit.Stored{}, fmt.Errorf("the outcome is unknown: %w", context.Cause(ctx))
	}
}

func (c *store) finish(err error) {
	c.err = err
	close(c.done)
}

// forget makes sure that no commit of the partition is sent any more. It waits for the one on its way until ctx ends.
func (k *committer) forget(ctx context.Context, name partitionName) {
	k.mu.Lock()
	waiting, flying := k.waiting[name], k.flying[name]
	delete(k.waiting, name)
	if flying != nil {
		flying.dropped = true
	}
	k.mu.Unlock()
	if waiting != nil {
		waiting.finish(errFencedGeneration)
	}
	if flying != nil {
		select {
		case <-flying.done:
		case <-ctx.Done():
		}
	}
}

// run sends until ctx ends or the generation is fenced; then everything that waits is refused.
func (k *committer) run(ctx context.Context) {
	defer k.close()
	bo := newBackoff(50 * time.Millisecond)
	for {
		select {
		case <-k.kick:
		case <-k.g.fenced:
			return
		case <-ctx.Done():
			return
		}
		if !k.gather(ctx) {
			return
		}
		for {
			batch := k.take()
			if len(batch) == 0 {
				break
			}
			err := k.send(ctx, batch)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				bo.Reset()
				k.g.isAlive()
				k.g.s.health.works(ctx, "commit")
				continue
			}
			k.g.s.health.fails(ctx, "commit", fmt.Errorf("group %q: %w", k.g.s.group, err))
			if !k.pause(ctx, bo.NextBackOff()) {
				return
			}
		}
	}
}

func (k *committer) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.g.fenced:
	case <-ctx.Done():
	}
	return false
}

// gather waits until all partitions have something to commit, at most for linger.
func (k *committer) gather(ctx context.Context) bool {
	t := time.NewTimer(linger)
	defer t.Stop()
	for !k.complete() {
		select {
		case <-k.kick:
		case <-t.C:
			return true
		case <-k.g.fenced:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (k *committer) complete() bool {
	expected := k.g.expected()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.waiting {
		if c.at {
			return true
		}
	}
	return len(k.waiting) >= expected
}

// take makes everything that waits fly, as much as fits into a request.
func (k *committer) take() []*offer {
	k.mu.Lock()
	all := make([]*store, 0, len(k.waiting))
	for _, c := range k.waiting {
		all = append(all, c)
	}
	share := k.share
	k.mu.Unlock()
	slices.SortFunc(all, func(a, b *store) int { return a.name.Compare(b.name) })

	var batch []*offer
	size := 0
	for _, c := range all {
		o := &offer{store: c}
		o.text, o.stored = k.g.s.limit.encode(c.progress)
		if size += len(o.text); size > share && len(batch) > 0 {
			break
		}
		batch = append(batch, o)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(batch, func(o *offer) bool {
		if k.waiting[o.name] != o.store {
			return true // forgotten or replaced meanwhile
		}
		delete(k.waiting, o.name)
		k.flying[o.name] = o.store
		return false
	})
}

// offer is a store as it is sent.
type offer struct {
	*store
	text   string
	stored commit.Stored
}

// send makes one request and settles what it decided. What it did not decide waits again; the error says why. The
// request has a time limit of its own, not that of a caller: its outcome must become known.
func (k *committer) send(ctx context.Context, batch []*offer) error {
	sending, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := k.g.s.transport.RoundTrip(sending, k.g.s.client.Addr, k.request(batch))
	var codes map[partitionName]int16
	if err == nil {
		codes = answers(resp)
	}
	var again error
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
		if retry := k.land(ctx, o, why); retry != nil {
			again = cmp.Or(again, retry)
		}
	}
	return again
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

// land ends the flight of a store: it is done, or it waits again. It returns why it waits again and is not sent at once.
func (k *committer) land(ctx context.Context, o *offer, err error) error {
	decided := err == nil
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
		decided, err = true, errSuperseded
	default:
		k.waiting[o.name] = o.store
	}
	k.mu.Unlock()
	if decided {
		o.store.stored = o.stored
		o.finish(err)
		if gone(err) {
			k.g.lost(ctx, err)
		}
		return nil
	}
	if errors.Is(err, errSmaller) {
		return nil
	}
	return err
}

// close refuses everything that waits and will come.
func (k *committer) close() {
	k.mu.Lock()
	k.closed = true
	var left []*store
	for _, c := range k.waiting {
		left = append(left, c)
	}
	for _, c := range k.flying {
		left = append(left, c)
	}
	clear(k.waiting)
	clear(k.flying)
	k.mu.Unlock()
	for _, c := range left {
		c.finish(errFencedGeneration)
	}
}
