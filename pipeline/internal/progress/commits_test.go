package progress

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
)

var errDown = errors.New("store is down")

// fresh returns Commits that begin at frontier 5, in state Changed 1 and Ahead 2.
func fresh() *Commits {
	c := &Commits{}
	c.Begin(commit.Stored{Frontier: 5}, commit.State{Changed: 1, Ahead: 2})
	return c
}

func changed(n int64) commit.State { return commit.State{Changed: n, Ahead: 2} }

// store makes a commit of s that is stored in full.
func store(t *testing.T, c *Commits, s commit.State) {
	t.Helper()
	if !c.Due(s) {
		t.Fatalf("Due(%+v) = false, want true", s)
	}
	c.End(s, commit.Stored{Frontier: s.Frontier}, 0, nil)
}

func TestCommitIsDueOnlyAfterAChange(t *testing.T) {
	c := fresh()
	if c.Due(changed(1)) || c.DueLast(changed(1)) {
		t.Error("the restored progress is due again")
	}
	store(t, c, changed(2))
	if c.Due(changed(2)) || c.DueLast(changed(2)) {
		t.Error("progress that was stored is due again")
	}
	store(t, c, changed(3))
}

func TestCommitThatFailedIsDueAgainWithoutAChange(t *testing.T) {
	c := fresh()
	for range 3 {
		if !c.Due(changed(2)) {
			t.Fatal("Due = false after a commit that failed")
		}
		c.End(changed(2), commit.Stored{}, 0, errDown)
	}
	store(t, c, changed(2))
	if c.Due(changed(2)) {
		t.Error("Due = true after the commit was stored")
	}
}

// While fetching waits for MaxReplay nothing changes, and only a commit with more room can end the wait.
func TestCommitIsDueWhileItMayStoreMore(t *testing.T) {
	c := fresh()
	for _, more := range []bool{true, true, false} {
		s := changed(2)
		if !c.Due(s) {
			t.Fatal("Due = false, want true: the last commit may store more")
		}
		c.End(s, commit.Stored{Replays: 9, More: more}, 0, nil)
	}
	if s := changed(2); c.Due(s) || c.DueLast(s) {
		t.Error("a commit that stores no more is due again")
	}
	var claimed Commits
	claimed.Begin(commit.Stored{Frontier: 5, Replays: 7, More: true}, changed(1))
	if s := changed(1); claimed.Beyond(s) != 7 || !claimed.Due(s) {
		t.Errorf("after a claim that kept 7 less: Beyond = %d, want 7 and a commit that is due", claimed.Beyond(s))
	}
}

// A commit that failed may have been stored, so the state of the last one that surely was is due again.
func TestStoredStateIsDueAgainAfterALaterCommitFailed(t *testing.T) {
	c := fresh()
	store(t, c, changed(2))
	if !c.Due(changed(3)) {
		t.Fatal("nothing is due")
	}
	c.End(changed(3), commit.Stored{}, 0, errDown)
	if !c.Due(changed(2)) {
		t.Error("Due = false, want true: the outcome of the last commit is unknown")
	}
}

// End gets the state from before the progress was read: what changes meanwhile is due.
func TestChangeDuringACommitIsDueAfterIt(t *testing.T) {
	c := fresh()
	if !c.Due(changed(2)) {
		t.Fatal("nothing is due")
	}
	c.End(changed(2), commit.Stored{}, 0, nil)
	if !c.Due(changed(3)) {
		t.Error("Due = false, want true: the state has changed since End's")
	}
}

// I8: one commit is under way at a time.
func TestOnlyOneOfManyCallersClaimsTheCommit(t *testing.T) {
	c := fresh()
	for round := range int64(200) {
		s := changed(round + 2)
		var claims atomic.Int32
		var wg sync.WaitGroup
		for _, due := range []func(commit.State) bool{c.Due, c.DueLast, c.Due, c.DueLast} {
			wg.Go(func() {
				if due(s) {
					claims.Add(1)
				}
			})
		}
		wg.Wait()
		if n := claims.Load(); n != 1 {
			t.Fatalf("I8: %d commits were claimed at once, want 1", n)
		}
		if c.Idle() {
			t.Fatal("Idle = true while a commit is under way")
		}
		c.End(s, commit.Stored{}, 0, nil)
		if !c.Idle() {
			t.Fatal("Idle = false after End")
		}
	}
}

func TestAfterLeaveOnlyTheLastCommitIsDue(t *testing.T) {
	c := fresh()
	c.Leave()
	if c.Due(changed(2)) {
		t.Error("Due = true after Leave")
	}
	if !c.DueLast(changed(2)) {
		t.Error("DueLast = false after Leave")
	}
}

func TestNoCommitIsDueAfterAbort(t *testing.T) {
	c := fresh()
	c.Abort() // no commit is under way
	if c.Due(changed(2)) || c.DueLast(changed(2)) {
		t.Error("a commit is due after Abort")
	}
}

func TestAbortCancelsTheCommitUnderWay(t *testing.T) {
	c := fresh()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Due(changed(2))
	c.Begun(cancel)
	if ctx.Err() != nil {
		t.Error("the commit is cancelled before Abort")
	}
	c.Abort()
	if ctx.Err() == nil {
		t.Error("the commit is not cancelled by Abort")
	}
	if c.Idle() {
		t.Error("Idle = true before End: a cancelled commit is still under way")
	}
}

// A commit may be claimed and have no ctx yet when Abort is called.
func TestCommitThatBeginsAfterAbortIsCancelled(t *testing.T) {
	c := fresh()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Due(changed(2))
	c.Abort()
	c.Begun(cancel)
	if ctx.Err() == nil {
		t.Error("the commit is not cancelled")
	}
}

func TestAbortDoesNotCancelACommitThatHasEnded(t *testing.T) {
	c := fresh()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Due(changed(2))
	c.Begun(cancel)
	c.End(changed(2), commit.Stored{}, 0, nil)
	c.Abort()
	if ctx.Err() != nil {
		t.Error("Abort called the cancel of a commit that has ended")
	}
}

func TestFirstFailureAndTheRecoveryAreNews(t *testing.T) {
	c := fresh()
	for i, step := range []struct {
		err  error
		news bool
	}{{nil, false}, {errDown, true}, {errDown, false}, {nil, true}, {nil, false}} {
		news := c.News(step.err)
		c.End(changed(2), commit.Stored{}, 0, step.err)
		if news != step.news {
			t.Errorf("commit %d with error %v: news = %v, want %v", i, step.err, news, step.news)
		}
	}
}

// The end of a commit that nothing follows is no news.
func TestEndOfACommitThatIsGivenUpIsNoNews(t *testing.T) {
	for name, tc := range map[string]struct {
		leave func(*Commits)
		err   error
		news  bool
	}{
		"partition is lost":                     {(*Commits).Abort, errDown, false},
		"partition leaves, ctx ends":            {(*Commits).Leave, fmt.Errorf("unknown outcome: %w", context.Canceled), false},
		"partition leaves, another one follows": {(*Commits).Leave, errDown, true},
		"partition stays, ctx ends":             {func(*Commits) {}, context.Canceled, true},
	} {
		c := fresh()
		tc.leave(c)
		if news := c.News(tc.err); news != tc.news {
			t.Errorf("%s: news = %v, want %v", name, news, tc.news)
		}
		c.End(changed(2), commit.Stored{}, 0, tc.err)
		if news := c.News(nil); news != tc.news {
			t.Errorf("%s: news of a success afterwards = %v, want %v", name, news, tc.news)
		}
	}
}

func TestBeyondCountsWhatNoStoredCommitCovers(t *testing.T) {
	c := fresh()
	check := func(when string, ahead, beyond, gainable int64) {
		t.Helper()
		s := commit.State{Ahead: ahead}
		if b, g := c.Beyond(s), c.Gainable(s); b != beyond || g != gainable {
			t.Errorf("%s, %d ahead: Beyond = %d, Gainable = %d, want %d and %d", when, ahead, b, g, beyond, gainable)
		}
	}
	check("after Begin", 2, 0, 0)
	check("after Begin", 9, 7, 7)
	check("after Begin", 1, 0, 0) // the frontier has moved
	c.End(commit.State{Ahead: 20}, commit.Stored{Replays: 4}, 0, nil)
	check("after a commit that could not express 4", 20, 4, 0)
	check("after a commit that could not express 4", 23, 7, 3)
	c.End(commit.State{Ahead: 30}, commit.Stored{Replays: 100}, 0, errDown)
	check("after a commit that failed", 23, 7, 3)
}

func TestLastKeepsTheStoredCommitThroughLaterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fresh()
		check := func(want Last) {
			t.Helper()
			if got := c.Last(); got != want {
				t.Errorf("Last = %+v, want %+v", got, want)
			}
		}
		check(Last{Stored: commit.Stored{Frontier: 5}})
		c.End(changed(2), commit.Stored{Frontier: 9}, time.Second, nil)
		at := time.Now()
		check(Last{Stored: commit.Stored{Frontier: 9}, At: at, Took: time.Second})
		time.Sleep(time.Second)
		c.End(changed(3), commit.Stored{Frontier: 11}, 2*time.Second, errDown)
		since := time.Now()
		time.Sleep(time.Second)
		c.End(changed(3), commit.Stored{Frontier: 11}, 3*time.Second, errDown)
		check(Last{Stored: commit.Stored{Frontier: 9}, At: at, Err: errDown, Since: since, Took: 3 * time.Second})
		c.End(changed(4), commit.Stored{Frontier: 12}, 0, nil)
		check(Last{Stored: commit.Stored{Frontier: 12}, At: time.Now()})
	})
}
