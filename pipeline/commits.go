package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// commitNow commits one partition's progress. The caller has claimed the commit with Due or DueLast. A fenced commit
// loses the partition. Any other error is logged when it is news; the next tick or commitLast retries.
func (p *Pipeline) commitNow(ctx context.Context, pt *partition) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.timing.CommitTimeout)
	defer cancel()
	pt.commits.Begun(cancel)
	noted := pt.divert.note()
	settled := pt.settled.Load()
	s := pt.tracker.State() // read before the progress, so that later changes are due again
	began := time.Now()
	stored, err := p.commit(ctx, pt, pt.tracker.Progress())
	e := Event{Kind: EventCommitFailed, Took: time.Since(began), Err: err}
	if err == nil {
		e.Kind, e.Messages = EventCommitted, settled-pt.stored.Swap(settled)
	}
	p.report.committed(pt, e, pt.commits.News(err)) // before End, after which the partition may be released
	pt.commits.End(s, stored, e.Took, err)
	pt.gate.poke()
	if errors.Is(err, commit.ErrFenced) {
		pt.lose(err)
	}
	if err == nil && noted != nil {
		pt.divert.committed(ctx, stored, noted)
	}
	return err
}

// commit calls Commit of the source in a goroutine of its own, so that a Commit that calls runtime.Goexit is an error. It
// waits for a Commit that does not return after its ctx has ended, and logs that repeatedly: neither another Commit nor
// Release may begin before.
func (p *Pipeline) commit(ctx context.Context, pt *partition, g *commit.Progress) (stored commit.Stored, err error) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = errCommitExited
		stored, err = pt.source.Commit(ctx, g)
	}()
	select {
	case <-over:
		return stored, err
	case <-ctx.Done():
	}
	p.awaitReturn(pt, over, "Commit of the source")
	return stored, err
}

var errCommitExited = errors.New("pipeline: Commit of the source called runtime.Goexit: it must return")
