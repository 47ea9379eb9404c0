// Package progress stores the progress of partitions in a Kafka group, in the metadata of committed offsets, and restores
// it. It never restores progress for another log, and never commits for a generation that is over.
package progress

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Committer sends the commits of one generation, one request at a time. Each request has every waiting commit: partitions
// that commit on a common tick share a request, and a later commit of a partition never overtakes an earlier one.
//
// It waits until every owned partition has a commit, at most for linger after the first.
//
// A commit without an answer is sent again, or replaced by a newer one of its partition. It cannot be withdrawn: a broker
// that was paused may store it after a newer one. After a crash that costs replays, never a message. Brokers refuse
// requests of older generations.
//
// A Committer is safe for concurrent use.
type Committer struct {
	session *group.Session
	limit   *Limit
	owned   func() int
	kick    chan struct{} // room for one

	mu      sync.Mutex
	waiting map[assign.Partition]*Commit // the newest of each partition
	sent    map[assign.Partition]*Commit // in the current request
	closed  bool
	most    int // bytes of metadata in one request
}

// Commit is one commit of one partition.
type Commit struct {
	Partition   assign.Partition
	Progress    *commit.Progress
	LeaderEpoch int32  // of the last message below the frontier; -1: unknown
	Before      string // metadata of the last commit that is known to be stored, for the same log; "": none

	alone bool      // do not wait for other partitions
	added time.Time // to the Committer

	// Written by the committer before done is closed.
	text   string
	stored commit.Stored
	err    error
	done   chan struct{}

	dropped bool // released meanwhile: do not send it again. Guarded by Committer.mu
}

const (
	linger = 5 * time.Millisecond
	// maxBytes bounds the metadata of one request. The broker writes the offsets of a request as one batch, and refuses
	// a batch above its max.message.bytes (1 MiB by default).
	maxBytes = 512 << 10
)

var (
	errFenced     = fmt.Errorf("the generation is over: %w", commit.ErrFenced)
	errSuperseded = errors.New("a newer commit of the partition replaced it")
)

// unknown reports whether brokers have not known the partition of a claim for so long that it was deleted.
func (c *Commit) unknown() bool { return c.alone && time.Since(c.added) >= metadata.GoneAfter }

// NewCommitter returns a Committer for the partitions of a generation. owned returns their number; it must not block.
func NewCommitter(session *group.Session, limit *Limit, owned func() int) *Committer {
	return &Committer{
		session: session,
		limit:   limit,
		owned:   owned,
		kick:    make(chan struct{}, 1),
		waiting: make(map[assign.Partition]*Commit),
		sent:    make(map[assign.Partition]*Commit),
		most:    maxBytes,
	}
}

// Commit blocks until c is stored or refused, or ctx ends: then its outcome is unknown.
func (k *Committer) Commit(ctx context.Context, c *Commit) (commit.Stored, error) {
	if err := k.add(c); err != nil {
		return commit.Stored{}, err
	}
	return k.wait(ctx, c)
}

// CommitAll is Commit for several partitions, in one request. Its error wraps [metadata.ErrUnknownTopic] if the broker does not
// know one of them for several seconds; the others are stored.
func (k *Committer) CommitAll(ctx context.Context, all []*Commit) error {
	for _, c := range all {
		c.alone = true
		if err := k.add(c); err != nil {
			return err
		}
	}
	var errs []error
	for _, c := range all {
		if _, err := k.wait(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("%s/%d: %w", c.Partition.Topic, c.Partition.Number, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Committer) add(c *Commit) error {
	c.done, c.added = make(chan struct{}), time.Now()
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return errFenced
	}
	old := k.waiting[c.Partition]
	k.waiting[c.Partition] = c
	k.mu.Unlock()
	if old != nil {
		old.finish(errSuperseded)
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
	return nil
}

func (k *Committer) wait(ctx context.Context, c *Commit) (commit.Stored, error) {
	select {
	case <-c.done:
		return c.stored, c.err
	case <-ctx.Done():
		return commit.Stored{}, fmt.Errorf("the outcome is unknown: %w", context.Cause(ctx))
	}
}

// Stored returns the result of a commit that has returned no error.
func (c *Commit) Stored() commit.Stored { return c.stored }

// Metadata returns what a commit that has returned no error has stored.
func (c *Commit) Metadata() string { return c.text }

func (c *Commit) finish(err error) {
	c.err = err
	close(c.done)
}

// Forget stops the commits of a partition: none is sent after it returns. It blocks until the current request is answered or
// ctx ends.
func (k *Committer) Forget(ctx context.Context, name assign.Partition) {
	k.mu.Lock()
	waiting, sent := k.waiting[name], k.sent[name]
	delete(k.waiting, name)
	if sent != nil {
		sent.dropped = true
	}
	k.mu.Unlock()
	if waiting != nil {
		waiting.finish(errFenced)
	}
	if sent != nil {
		select {
		case <-sent.done:
		case <-ctx.Done():
		}
	}
}

// Run sends commits until ctx ends or the session is fenced, then refuses all others.
func (k *Committer) Run(ctx context.Context) {
	defer k.close()
	bo := cluster.NewBackoff(50 * time.Millisecond)
	var reconnects wire.Reconnects
	for k.await(ctx, k.kick, nil) {
		for k.pending() && k.gather(ctx) {
			batch := k.take()
			if len(batch) == 0 {
				continue // forgotten meanwhile
			}
			stored, err := k.send(ctx, batch)
			if ctx.Err() != nil {
				return
			}
			if reconnects.Again(err) {
				continue
			}
			if err != nil {
				k.session.Cluster.Health.Fails(ctx, "commit", fmt.Errorf("group %q: %w", k.session.Cluster.Group, err))
				if !k.await(ctx, nil, time.NewTimer(bo.NextBackOff()).C) {
					return
				}
				continue
			}
			bo.Reset()
			reconnects.Reset()
			if stored {
				k.session.Cluster.Health.Works(ctx, "commit")
			}
		}
	}
}

// await blocks until a kick or the timer. It reports false if ctx has ended or the session is fenced.
func (k *Committer) await(ctx context.Context, kick <-chan struct{}, timer <-chan time.Time) bool {
	select {
	case <-kick:
		return true
	case <-timer:
		return true
	case <-k.session.Fenced():
	case <-ctx.Done():
	}
	return false
}

// gather blocks until all partitions have a commit, at most for linger. It reports as await does.
func (k *Committer) gather(ctx context.Context) bool {
	start := time.Now()
	for timer := time.NewTimer(linger); !k.complete() && time.Since(start) < linger; {
		if !k.await(ctx, k.kick, timer.C) {
			return false
		}
	}
	return true
}

func (k *Committer) pending() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.waiting) > 0
}

func (k *Committer) complete() bool {
	owned := k.owned()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.waiting {
		if c.alone {
			return true
		}
	}
	return len(k.waiting) >= owned
}

// take chooses the waiting commits that fit into one request, and moves them to sent.
func (k *Committer) take() []*encoded {
	k.mu.Lock()
	all := slices.Collect(maps.Values(k.waiting))
	most := k.most
	k.mu.Unlock()
	slices.SortFunc(all, func(a, b *Commit) int { return a.Partition.Compare(b.Partition) })

	var batch []*encoded
	size := 0
	for _, c := range all {
		o := &encoded{Commit: c}
		o.text, o.stored = k.limit.encode(c.Before, c.Progress)
		if size += len(o.text); size > most && len(batch) > 0 {
			break
		}
		batch = append(batch, o)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(batch, func(o *encoded) bool {
		if k.waiting[o.Partition] != o.Commit {
			return true // forgotten or replaced meanwhile
		}
		delete(k.waiting, o.Partition)
		k.sent[o.Partition] = o.Commit
		return false
	})
}

// close refuses all commits from now on.
func (k *Committer) close() {
	k.mu.Lock()
	k.closed = true
	left := slices.AppendSeq(slices.Collect(maps.Values(k.waiting)), maps.Values(k.sent))
	clear(k.waiting)
	clear(k.sent)
	k.mu.Unlock()
	for _, c := range left {
		c.finish(errFenced)
	}
}
