package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// Partition is one ownership of one partition. It implements [source.Partition], [source.Lagger],
// [source.LogEnder] and [source.Claimer].
type Partition struct {
	id       source.ID
	name     assign.Partition
	gen      *generation
	restored *commit.Progress
	claim    *progress.Commit
	reader   *fetch.Reader
	tenure   *tenure.Tenure

	leaderEpoch int32 // of the last message below restored.Frontier, -1: unknown
	aheadEpoch  int32 // of the last message in restored.Ahead, or of a later one; -1: unknown
	end         int64 // of a finite source; -1: none
	position    int64 // written by Fetch

	again bool // offer it again after Release, in the same generation. Guarded by Source.mu

	interrupt atomic.Pointer[context.CancelCauseFunc] // ends the current Fetch; nil if there is none

	mu       sync.Mutex
	finished bool             // Fetch has reached end
	kept     int64            // the highest frontier known to be stored
	last     *progress.Commit // that is known to be stored
}

// ID implements [source.Partition].
func (p *Partition) ID() source.ID { return p.id }

// Restored implements [source.Partition].
func (p *Partition) Restored() *commit.Progress { return p.restored }

// Claimed implements [source.Claimer].
func (p *Partition) Claimed() commit.Stored { return p.claim.Stored() }

// Leaving implements [source.Partition].
func (p *Partition) Leaving() <-chan source.Leave { return p.tenure.Leaving() }

// End implements [source.Lagger]. For a finite source it returns where the partition ends.
func (p *Partition) End() (int64, bool) {
	if p.end >= 0 {
		return p.end, true
	}
	return p.reader.End()
}

// LogEnd implements [source.LogEnder]: it returns the high watermark, and End the last stable offset. For a finite source
// it returns where the partition ends.
func (p *Partition) LogEnd() (int64, bool) {
	if p.end >= 0 {
		return p.end, true
	}
	return p.reader.LogEnd()
}

// Fetch implements [source.Partition].
func (p *Partition) Fetch(ctx context.Context, b *source.Batch) error {
	if p.end >= 0 && p.position >= p.end {
		p.mu.Lock()
		p.finished = true
		p.mu.Unlock()
		return io.EOF
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.interrupt.Store(&cancel)
	defer p.interrupt.Store(nil)
	if p.tenure.Over() { // checked after interrupt is set: either this sees the leave, or interruptFetch sees this call
		return source.ErrLeaving
	}
	err := p.reader.Read(ctx, b)
	switch {
	case err == nil:
		p.trim(b)
		p.position = b.Next
		return nil
	case errors.Is(err, source.ErrLeaving):
		return source.ErrLeaving
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return err
	case p.replaced(ctx, err):
		return source.ErrLeaving
	}
	return err
}

// trim drops the messages behind the end of a finite source.
func (p *Partition) trim(b *source.Batch) {
	if p.end < 0 || b.Next < p.end {
		return
	}
	n := len(b.Messages)
	for n > 0 && b.Messages[n-1].Offset >= p.end {
		n--
	}
	clear(b.Messages[n:])
	b.Messages, b.Next = b.Messages[:n], p.end
}

// replaced reports whether err means another log: the topic was deleted and created again, or the log was cut below the position.
// It makes the pipeline lose the partition and accept it again, at the progress committed for the new log.
func (p *Partition) replaced(ctx context.Context, err error) bool {
	var out *fetch.OutOfRangeError
	cut := p.gen.s.cfg.OutOfRange != OutOfRangeFail && errors.As(err, &out)
	if !cut && !errors.Is(err, metadata.ErrTopicGone) && !errors.Is(err, metadata.ErrRecreated) {
		return false
	}
	s := p.gen.s
	s.mu.Lock()
	p.again = true
	if cut {
		p.gen.forced[p.name] = metadata.Query{Latest: s.cfg.OutOfRange == OutOfRangeLatest}
	}
	told := p.gen.replaced[p.name.Topic]
	p.gen.replaced[p.name.Topic] = true
	s.mu.Unlock()
	p.lose(err.Error())
	if cut || !told { // the cause is that of the whole topic unless one log was cut
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: log was replaced or deleted; its partition is accepted again if it exists",
			slog.String("partition", p.id.String()), slog.Any("error", err))
	}
	return true
}

// Commit implements [source.Partition]. It retries until the progress is stored or refused, or ctx ends.
func (p *Partition) Commit(ctx context.Context, settled *commit.Progress) (commit.Stored, error) {
	if err := p.tenure.Commit(settled.Frontier); err != nil {
		return commit.Stored{}, err
	}
	epoch := p.reader.LeaderEpoch(settled.Frontier)
	if epoch < 0 && settled.Frontier == p.restored.Frontier {
		epoch = p.leaderEpoch
	}
	own := *settled
	own.Log, own.Epoch = p.restored.Log, p.id.Epoch
	if n := len(own.Ahead); n > 0 {
		own.Log = progress.NameLog(own.Log, max(p.aheadEpoch, p.reader.EpochAt(own.Ahead[n-1].To)))
	}
	p.mu.Lock()
	c := &progress.Commit{Partition: p.name, Progress: &own, LeaderEpoch: epoch, Before: p.last.Metadata()}
	p.mu.Unlock()
	stored, err := p.gen.commits.Commit(ctx, c)
	if err != nil {
		return stored, fmt.Errorf("kafka: commit of %v at offset %d: %w", p.id, own.Frontier, err)
	}
	p.mu.Lock()
	p.kept, p.last = max(p.kept, own.Frontier), c
	p.mu.Unlock()
	return stored, nil
}

// ended reports whether Fetch has reached the end of a finite partition, and whether that end is committed.
func (p *Partition) ended() (finished, committed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finished, p.finished && p.kept >= p.end
}

// Release implements [source.Partition]. It waits for the current commit: no commit of this epoch is sent after it returns.
func (p *Partition) Release(ctx context.Context) error {
	if err := p.tenure.Release(); err != nil {
		return err
	}
	p.reader.Close()
	p.gen.commits.Forget(ctx, p.name)
	p.gen.s.release(p)
	return nil
}

// revoke tells the pipeline to release the partition.
func (p *Partition) revoke(l source.Leave) {
	if p.tenure.Revoke(l) {
		p.interruptFetch()
	}
}

// lose tells the pipeline, and the report, that the partition is lost.
func (p *Partition) lose(why string) {
	if p.tenure.LoseAfter(why, func() { p.gen.s.lost(p.id, why) }) {
		p.interruptFetch()
	}
}

func (p *Partition) interruptFetch() {
	if interrupt := p.interrupt.Load(); interrupt != nil {
		(*interrupt)(source.ErrLeaving)
	}
}
