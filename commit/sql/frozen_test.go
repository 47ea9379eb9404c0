//go:build unix

package sql_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/internal/sqlstore"
)

// An owner that is frozen in a transaction holds up the next Claim for as long as the server lets it be silent: the Claim itself
// fails after ClaimTimeout. The owner is refused when it wakes.
func TestLiveOwnerFrozenInATransactionDoesNotHoldUpTheNextClaim(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t, nil)
		s := db.store(t, pool, commitsql.Config{})
		for commits, in := range []string{"Claim", "the first Save", "a later Save"} {
			t.Run(in, func(t *testing.T) {
				before, err := s.Claim(t.Context(), "in", 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				thaw := db.frozen(t, "billing", commits+1)
				begun := time.Now()
				p, err := s.Claim(t.Context(), "in", 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("the claim took %v", time.Since(begun))
				if want := before.Frontier + max(0, int64(commits)-1); p.Frontier != want {
					t.Errorf("claimed %+v, want the frontier %d", *p, want)
				}
				if err := s.Save(t.Context(), "in", 0, progressAt(p.Epoch, p.Frontier)); err != nil {
					t.Error(err)
				}
				said := thaw()
				if refused := strings.Contains(said, commit.ErrFenced.Error()); refused == (in == "Claim") {
					t.Errorf("the owner woke and said %s", said)
				}
				if after, err := s.Claim(t.Context(), "in", 0, 0); err != nil || after.Frontier != p.Frontier {
					t.Errorf("claim after the owner woke = %+v, %v; want the frontier %d", after, err, p.Frontier)
				}
			})
		}
	})
}

// Nothing ends the transaction of a frozen process on SQLite. The others get an error until the process goes on.
func TestOwnerFrozenInATransactionOfAFileIsAnErrorOfTheOthers(t *testing.T) {
	db := newFile(t)
	s := db.store(t, db.pool(t, nil), short())
	thaw := db.frozen(t, "billing", 4) // those of a check, a Claim and a Save come before
	_, err := s.Claim(t.Context(), "in", 0, 0)
	if err == nil || !strings.Contains(err.Error(), "locked the file for 2s; its process may be frozen") {
		t.Errorf("Claim = %v", err)
	}
	claimed := make(chan *commit.Progress)
	go func() {
		for {
			if p, err := s.Claim(t.Context(), "in", 0, 0); err == nil || t.Context().Err() != nil {
				claimed <- p
				return
			}
		}
	}()
	said := thaw()
	if p := <-claimed; p == nil || p.Frontier < 1 {
		t.Errorf("claimed %+v, want what the owner has saved", p)
	}
	if !strings.Contains(said, commit.ErrFenced.Error()) {
		t.Errorf("the owner woke and said %s", said)
	}
}

// The error names the row whose lock a transaction holds that does not end, for example one of an operator.
func TestLiveClaimNamesTheLockThatItWaitedFor(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t, nil)
		s := db.store(t, pool, short())
		epoch := claim(t, s, 3).Epoch
		tx, err := pool.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := tx.QueryRowContext(t.Context(), "SELECT number FROM keystrand_commit_owners FOR UPDATE").Scan(&n); err != nil {
			t.Fatal(err)
		}
		hash := fmt.Sprintf("%x", sqlstore.Place("billing", "orders", 3))
		_, err = s.Claim(t.Context(), "orders", 3, 0)
		for _, part := range []string{"orders/3", "the row of keystrand_commit_owners with the hash " + hash + " is locked", "may be frozen"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Claim = %v, want an error with %q", err, part)
			}
		}
		err = s.Save(t.Context(), "orders", 3, progressAt(epoch, 1))
		if err == nil || errors.Is(err, commit.ErrFenced) || !strings.Contains(err.Error(), "lock the rows of keystrand_commit_owners") {
			t.Errorf("Save = %v, want an ordinary error that names the table", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		save(t, s, 3, epoch, 1)
	})
}

// A Save locks the epoch beside others who only look at it, such as transactions of a sink.
func TestLiveSaveDoesNotWaitForThoseWhoLookAtTheEpoch(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t, nil)
		s := db.store(t, pool, short())
		epoch := claim(t, s, 3).Epoch
		tx, err := pool.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		q := "SELECT epoch FROM keystrand_commit_owners" + sqlstore.Dialect(db.dialect).LockShared()
		if err := tx.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
			t.Fatal(err)
		}
		save(t, s, 3, epoch, 1)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	})
}

// What was reported as stored is there after the server was killed, and the store goes on without a new *sql.DB.
func TestLiveSavedProgressSurvivesAKilledServer(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		s := db.store(t, db.pool(t, nil), commitsql.Config{})
		saved := int64(0)
		for range 3 {
			epoch := claim(t, s, 0).Epoch
			failed, ten := make(chan error), make(chan struct{})
			go func() {
				for first := saved; ; saved++ {
					if saved == first+10 {
						close(ten)
					}
					if err := s.Save(t.Context(), "orders", 0, progressAt(epoch, saved+1)); err != nil {
						failed <- err
						return
					}
				}
			}()
			<-ten
			db.control(t, "kill")
			if err := <-failed; errors.Is(err, commit.ErrFenced) || errors.Is(err, commit.ErrCorrupt) || errors.Is(err, commitsql.ErrUnusable) {
				t.Errorf("Save without a server = %v, want an ordinary error", err)
			}
			db.control(t, "start")
			p, err := eventually(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if p.Frontier != saved && p.Frontier != saved+1 {
				t.Fatalf("frontier = %d, and %d was reported as stored", p.Frontier, saved)
			}
			saved = p.Frontier
		}
	})
}

// eventually claims, and once more if the pool still has a connection of the server before.
func eventually(ctx context.Context, s commit.Store) (*commit.Progress, error) {
	p, err := s.Claim(ctx, "orders", 0, 0)
	if err != nil {
		p, err = s.Claim(ctx, "orders", 0, 0)
	}
	return p, err
}
