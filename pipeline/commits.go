package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// commits is what a partition knows of its commits.
type commits struct {
	mu      sync.Mutex
	under   bool          // one is under way: one at a time
	cancel  func()        // ends the ctx of the one under way; nil if it has none yet
	leaving bool          // the partition leaves: only commitLast begins another
	aborted bool          // no other begins, and the one under way is told to return
	changed int64         // the tracker's counter at the last one
	stored  commit.Stored // what the last one kept
	ahead   int64         // what was settled ahead of the frontier at the last one
	err     error         // why the last one failed; nil if it was stored
	at      time.Time     // when the last one was stored
}

// begin takes what an earlier owner has committed as the last commit.
func (c *commits) begin(restored *commit.Progress, s commit.State) {
	c.changed, c.stored, c.ahead = s.Changed, commit.Stored{Frontier: restored.Frontier}, s.Ahead
}

// due tells whether a tick has anything to commit, and if so claims the right to: end gives it back.
func (c *commits) due(s commit.State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.leaving && c.claimLocked(s)
}

// dueLast is due for commitLast, whose the commits are once leave was called.
func (c *commits) dueLast(s commit.State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claimLocked(s)
}

func (c *commits) claimLocked(s commit.State) bool {
	if c.under || c.aborted || c.changed == s.Changed && c.err == nil {
		return false
	}
	c.under = true
	return true
}

// leave ends the commits of the ticks. One may be under way still.
func (c *commits) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
}

// abort lets no other commit begin and tells the one under way to return.
func (c *commits) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.cancel != nil {
		c.cancel()
	}
}

// begun takes the cancel of the commit that was claimed.
func (c *commits) begun(cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	if c.aborted {
		cancel()
	}
}

// idle tells whether no commit is under way.
func (c *commits) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.under
}

// end keeps what became of a commit, and tells whether it is the first after some that failed, or the first to fail.
func (c *commits) end(s commit.State, stored commit.Stored, err error) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under, c.cancel = false, nil
	news = (err == nil) != (c.err == nil)
	if c.err = err; err == nil {
		c.changed, c.stored, c.ahead, c.at = s.Changed, stored, s.Ahead, time.Now()
	}
	return news
}

// beyond returns how many settled messages no commit can express so far: those that the last one could not, and what
// was settled ahead of the frontier since.
func (c *commits) beyond(s commit.State) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored.Replays + max(0, s.Ahead-c.ahead)
}

// gainable returns how many of them another commit may express.
func (c *commits) gainable(s commit.State) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, s.Ahead-c.ahead)
}

// last returns the last commit that was stored, when, and why the one after it failed.
func (c *commits) last() (commit.Stored, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored, c.at, c.err
}

// commitNow commits one partition's progress; the caller has asked due. A fenced commit loses the partition, any other
// error is told and tried again at the next tick.
func (p *Pipeline) commitNow(ctx context.Context, pt *partition) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.timing.CommitTimeout)
	defer cancel()
	pt.commits.begun(cancel)
	s := pt.tracker.State() // taken first: what changes after it is committed the next time
	stored, err := p.commit(ctx, pt, pt.tracker.Progress())
	news := pt.commits.end(s, stored, err)
	pt.gate.poke()
	switch {
	case errors.Is(err, commit.ErrFenced):
		pt.lose(err)
	case err != nil && news:
		pt.log.LogAttrs(ctx, slog.LevelWarn, "commit failed; retrying at every tick", slog.Any("error", err))
	case err == nil && news:
		pt.log.LogAttrs(ctx, slog.LevelInfo, "commit recovered", slog.Int64("frontier", stored.Frontier))
	}
	return err
}

// commit calls Commit of the source, in a goroutine that it may end. One that does not return after its ctx has ended is
// waited for, with an alarm now and then: no other may begin beside it, nor Release.
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
	p.awaitReturn(ctx, pt, over, "Commit of the source")
	return stored, err
}

var errCommitExited = errors.New("pipeline: Commit of the source ended its goroutine (runtime.Goexit): it must return")
