// Package progress decides when the progress of one partition is committed, and remembers what was stored.
//
// At most one commit of a partition is under way. The package calls no source and starts no goroutine: its caller makes
// the commit that [Commits.Due] or [Commits.DueLast] has claimed, and passes the result to [Commits.End].
package progress

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Commits is the state of one partition's commits. Call Begin first, before any other method. The other methods are
// safe for concurrent use and do not block.
//
// A commit passes these steps:
//
//	Due or DueLast (claims it) → Begun → News → End
type Commits struct {
	mu      sync.Mutex
	under   bool          // a commit is claimed and has not ended
	cancel  func()        // cancels the commit under way; nil before Begun
	leaving bool          // Due claims no commit any more
	aborted bool          // no commit is claimed any more, and the one under way is cancelled
	changed int64         // State.Changed at the last commit that was stored
	stored  commit.Stored // the result of that commit
	ahead   int64         // State.Ahead at that commit
	err     error         // why the last commit failed; nil if it was stored
	told    bool          // News has reported a failure since the last success
	at      time.Time     // when the last stored commit ended; zero before the first
	since   time.Time     // when the first commit failed since then; zero if err is nil
	took    time.Duration // how long the last commit took, stored or not
}

// Begin sets the last commit to stored, the result of the commit with the restored progress. s is the state of the
// tracker made from that progress.
func (c *Commits) Begin(stored commit.Stored, s commit.State) {
	c.changed, c.stored, c.ahead = s.Changed, stored, s.Ahead
}

// Due reports whether there is something to commit, and claims the commit: after true, the caller must make it and call
// End. s is the current state of the tracker. There is something to commit if s has changed since the last stored commit,
// if that one may store more of the same progress, or if a later one failed. Due is false while a commit is under way, and
// after Leave or Abort.
func (c *Commits) Due(s commit.State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.leaving && c.claimLocked(s)
}

// DueLast is Due for the last commits of a partition that leaves: it may be true after Leave.
func (c *Commits) DueLast(s commit.State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claimLocked(s)
}

// claimLocked claims the commit if there is something to commit and no commit is under way.
func (c *Commits) claimLocked(s commit.State) bool {
	if c.under || c.aborted || c.changed == s.Changed && c.err == nil && !c.stored.More {
		return false
	}
	c.under = true
	return true
}

// Leave makes every later Due false. A commit may still be under way.
func (c *Commits) Leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
}

// Abort makes every later Due and DueLast false, and cancels the commit under way.
func (c *Commits) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Begun records the function that cancels the commit that was claimed. If Abort was called before, Begun calls cancel.
// cancel runs with a lock held: it must not block or call c.
func (c *Commits) Begun(cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	if c.aborted {
		cancel()
	}
}

// Idle reports whether no commit is under way.
func (c *Commits) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.under
}

// News reports whether the result of the commit that was claimed is news: the first failure after a success, or the first
// success after that. Call it once for each commit, before End. The end of a commit after Abort, or after Leave by its ctx, is no
// news: nothing is retried, and the caller reports what was not stored.
func (c *Commits) News(err error) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news = c.told
	if err != nil {
		news = !c.told && !c.aborted && !(c.leaving && errors.Is(err, context.Canceled))
	}
	if news {
		c.told = err != nil
	}
	return news
}

// End records the result of the commit that was claimed, and how long it took. s is the state of the tracker, read before the
// progress that was committed, so that a later change is due again.
func (c *Commits) End(s commit.State, stored commit.Stored, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.under, c.cancel, c.took = false, nil, took
	switch {
	case err == nil:
		c.changed, c.stored, c.ahead, c.at, c.since = s.Changed, stored, s.Ahead, now, time.Time{}
	case c.err == nil:
		c.since = now
	}
	c.err = err
}

// Beyond returns how many settled messages no stored commit covers: those that the last one could not express, and
// those settled ahead of the frontier since.
func (c *Commits) Beyond(s commit.State) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored.Replays + max(0, s.Ahead-c.ahead)
}

// Gainable returns how many of the messages of Beyond the next commit may cover: those settled ahead of the frontier
// since the last one.
func (c *Commits) Gainable(s commit.State) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, s.Ahead-c.ahead)
}

// Covers returns the last stored commit, and reports whether it has everything that is settled in s. It is false while a commit
// is under way.
func (c *Commits) Covers(s commit.State) (commit.Stored, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored, !c.under && c.changed == s.Changed && c.err == nil
}

// Last is the last commit of a partition.
type Last struct {
	Stored commit.Stored // the last stored one
	At     time.Time     // when that ended; zero before the first
	Err    error         // why a later one failed; nil if none did
	Since  time.Time     // when the first one failed since the last stored one; zero if Err is nil
	Took   time.Duration // how long the last one took, stored or not
}

// Last returns the last commit.
func (c *Commits) Last() Last {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Last{c.stored, c.at, c.err, c.since, c.took}
}
