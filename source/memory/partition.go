package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
)

// partition is one ownership.
type partition struct {
	source   *Source
	group    *Group
	shard    *shard
	id       source.ID
	restored *commit.Progress
	tenure   *tenure.Tenure

	cursor     cursor       // used by the goroutine of Fetch
	position   atomic.Int64 // written by Fetch, read by Commit and Release
	fetching   atomic.Bool
	committing atomic.Bool

	deadline *time.Timer // ends the ownership after LeaveTimeout; nil if there is no timeout; guarded by the mu of the log
}

func newPartition(s *Source, g *Group, id source.ID, restored *commit.Progress) *partition {
	p := &partition{
		source:   s,
		group:    g,
		shard:    g.log.shards[id.Partition],
		id:       id,
		restored: restored,
		tenure:   tenure.New("memory", id, restored.Frontier),
		cursor:   cursor{offset: restored.Frontier, index: -1},
	}
	p.position.Store(restored.Frontier)
	return p
}

func (p *partition) ID() source.ID                { return p.id }
func (p *partition) Restored() *commit.Progress   { return p.restored }
func (p *partition) Leaving() <-chan source.Leave { return p.tenure.Leaving() }

// End implements [source.Lagger].
func (p *partition) End() (int64, bool) {
	_, end, _ := p.shard.bounds()
	return end, true
}

func (p *partition) Fetch(ctx context.Context, b *source.Batch) error {
	if !p.fetching.CompareAndSwap(false, true) {
		return fmt.Errorf("memory: fetch of %v: concurrent calls of Fetch", p.id)
	}
	defer p.fetching.Store(false)
	for {
		changed, err := p.read(ctx, b)
		if changed == nil || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// read fetches what there is. If there is nothing, it returns a channel that is closed at the next change or when the
// partition is revoked or lost.
func (p *partition) read(ctx context.Context, b *source.Batch) (changed <-chan struct{}, err error) {
	if b.MaxMessages < 1 || b.MaxBytes < 1 {
		return nil, fmt.Errorf("memory: fetch of %v: limits of %d messages and %d bytes, want at least 1 each",
			p.id, b.MaxMessages, b.MaxBytes)
	}
	if err := p.stopped(ctx); err != nil {
		return nil, err
	}
	var bad func(int64) error
	if fault := p.source.cfg.FetchFault; fault != nil {
		bad = func(offset int64) error { return fault(p.id, offset) }
	}
	what, changed, err := p.shard.read(&p.cursor, b, bad)
	switch {
	case err != nil:
		return nil, fmt.Errorf("memory: fetch of %v at offset %d: %w", p.id, p.cursor.offset, err)
	case what == moved:
		p.position.Store(b.Next)
		return nil, nil
	case what == atEnd:
		return nil, io.EOF
	}
	return changed, p.stopped(ctx) // it may have been revoked before changed was made
}

// stopped returns an error if Fetch must end.
func (p *partition) stopped(ctx context.Context) error {
	if p.tenure.Over() {
		if err := p.source.gone(); err != nil {
			return fmt.Errorf("memory: fetch of %v: %w", p.id, err)
		}
		return source.ErrLeaving
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (p *partition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if !p.committing.CompareAndSwap(false, true) {
		return commit.Stored{}, fmt.Errorf("memory: commit of %v: concurrent calls of Commit", p.id)
	}
	defer p.committing.Store(false)
	if ctx.Err() != nil {
		return commit.Stored{}, context.Cause(ctx)
	}
	if before := p.source.cfg.BeforeCommit; before != nil {
		if err := before(ctx, p.id, progress); err != nil {
			return commit.Stored{}, fmt.Errorf("memory: commit of %v: %w", p.id, err)
		}
	}
	kept, err := p.group.store(p, progress)
	if err != nil {
		return commit.Stored{}, err
	}
	if after := p.source.cfg.AfterCommit; after != nil {
		if err := after(ctx, p.id, progress); err != nil {
			return commit.Stored{}, fmt.Errorf("memory: commit of %v: %w", p.id, err)
		}
	}
	return kept, nil
}

// Release never waits, so it ignores its ctx.
func (p *partition) Release(context.Context) error {
	var errs []error
	if p.fetching.Load() {
		errs = append(errs, fmt.Errorf("memory: release of %v: Fetch has not returned", p.id))
	}
	if p.committing.Load() {
		errs = append(errs, fmt.Errorf("memory: release of %v: Commit has not returned", p.id))
	}
	return errors.Join(append(errs, p.group.release(p))...)
}
