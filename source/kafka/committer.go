package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
			stored, err := k.send(ctx, batch)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				bo.Reset()
				if stored {
					k.g.s.health.Works(ctx, "commit")
				}
				continue
			}
			k.g.s.health.Fails(ctx, "commit", fmt.Errorf("group %q: %w", k.g.s.group, err))
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
