package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
)

// Partition is one ownership of one partition. It implements [source.Partition] and [source.Lagger].
type Partition struct {
	id       source.ID
	name     partitionName
	gen      *generation
	restored *commit.Progress
	reader   *fetch.Reader
	leaving  chan source.Leave

	leaderEpoch int32 // of the last message below restored.Frontier, -1: unknown
	aheadEpoch  int32 // of the last message in restored.Ahead, or of a later one; -1: unknown
	end         int64 // where a finite source stops; -1: nowhere
	position    int64 // of the goroutine in Fetch

	again bool // after Release it is offered again, by the same generation. Guarded by Source.mu

	mu        sync.Mutex
	finished  bool                    // has come to end
	kept      int64                   // the frontier that is stored for certain
	asked     bool                    // asked back
	lost      bool                    //
	released  bool                    //
	frontier  int64                   // last committed
	interrupt context.CancelCauseFunc // ends the Fetch under way; nil if there is none
}

// ID implements [source.Partition].
func (p *Partition) ID() source.ID { return p.id }

// Restored implements [source.Partition].
func (p *Partition) Restored() *commit.Progress { return p.restored }

// Leaving implements [source.Partition].
func (p *Partition) Leaving() <-chan source.Leave { return p.leaving }

// End implements [source.Lagger]. Of a finite source it is where it stops.
func (p *Partition) End() (int64, bool) {
	end, known := p.reader.End()
	if p.end >= 0 {
		return p.end, true
	}
	return end, known
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
	if !p.fetching(cancel) {
		return source.ErrLeaving
	}
	err := p.reader.Read(ctx, b)
	p.fetching(nil)
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

// fetching says how to interrupt the Fetch that begins, or with nil that it has ended. It reports false when the
// partition is leaving.
func (p *Partition) fetching(interrupt context.CancelCauseFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupt = interrupt
	return !p.asked && !p.lost
}

// trim cuts off what arrived behind the end of a finite source.
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

// replaced handles that the log is no longer the one that was read: the topic was deleted and made again, or cut so that
// going on would mean going back. The pipeline loses the partition and gets it again, from what is committed for the
// log that is there then.
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
	s.mu.Unlock()
	p.lose(err.Error())
	s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the log was replaced, the partition begins anew",
		slog.String("partition", p.id.String()), slog.Any("error", err))
	return true
}

// Commit implements [source.Partition]. It is tried until it is stored, refused, or ctx ends.
func (p *Partition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if err := p.mayCommit(progress); err != nil {
		return commit.Stored{}, err
	}
	epoch := p.reader.LeaderEpoch(progress.Frontier)
	if epoch < 0 && progress.Frontier == p.restored.Frontier {
		epoch = p.leaderEpoch
	}
	own := *progress
	own.Log, own.Epoch = p.restored.Log, p.id.Epoch
	if n := len(own.Ahead); n > 0 {
		own.Log = nameLog(own.Log, max(p.aheadEpoch, p.reader.EpochAt(own.Ahead[n-1].To)))
	}
	stored, err := p.gen.commits.commit(ctx, &store{name: p.name, progress: &own, leaderEpoch: epoch})
	if err != nil {
		return stored, fmt.Errorf("kafka: commit of %v at offset %d: %w", p.id, progress.Frontier, err)
	}
	p.mu.Lock()
	p.kept = max(p.kept, own.Frontier)
	p.mu.Unlock()
	return stored, nil
}

// ended tells whether a finite partition has come to its end, and whether all of it is committed.
func (p *Partition) ended() (finished, committed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finished, p.finished && p.kept >= p.end
}

func (p *Partition) mayCommit(progress *commit.Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.released:
		return fmt.Errorf("kafka: commit of %v after its release: %w", p.id, commit.ErrFenced)
	case p.lost:
		return fmt.Errorf("kafka: commit of %v, which is lost: %w", p.id, commit.ErrFenced)
	case progress.Frontier < p.frontier:
		return fmt.Errorf("kafka: commit of %v: offset %d is below %d, which was committed before", p.id, progress.Frontier, p.frontier)
	}
	p.frontier = progress.Frontier
	return nil
}

// Release implements [source.Partition]. It waits for a commit on its way, so that nothing of this epoch is sent any
// more when it returns.
func (p *Partition) Release(ctx context.Context) error {
	p.mu.Lock()
	already := p.released
	p.released = true
	p.mu.Unlock()
	if already {
		return fmt.Errorf("kafka: %v was released twice", p.id)
	}
	p.reader.Close()
	p.gen.commits.forget(ctx, p.name)
	p.gen.s.release(p)
	return nil
}

// ask tells the pipeline that the partition is asked back.
func (p *Partition) ask(l source.Leave) {
	p.mu.Lock()
	if p.asked || p.lost || p.released {
		p.mu.Unlock()
		return
	}
	p.asked = true
	interrupt := p.interrupt
	p.mu.Unlock()
	p.leaving <- l // there is room: each of the two values is sent once
	if interrupt != nil {
		interrupt(source.ErrLeaving)
	}
}

// lose tells the pipeline that the partition is lost.
func (p *Partition) lose(why string) {
	p.mu.Lock()
	if p.lost || p.released {
		p.mu.Unlock()
		return
	}
	p.lost = true
	interrupt := p.interrupt
	p.mu.Unlock()
	p.gen.s.lost(p.id, why)
	p.leaving <- source.Leave{Lost: true} // there is room: each of the two values is sent once
	if interrupt != nil {
		interrupt(source.ErrLeaving)
	}
}
