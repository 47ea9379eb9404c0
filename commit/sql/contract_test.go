//go:build unix

package sql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/commit/storetest"
)

func TestStoreKeepsItsContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Env {
		t.Helper()
		db := newFile(t)
		return db.env(t, "billing", func() (func(), error) {
			tx, err := db.pool(t, nil).BeginTx(t.Context(), nil) // a process that is frozen in a transaction
			return func() { _ = tx.Rollback() }, err
		})
	})
}

func TestLiveStoreKeepsItsContract(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		storetest.Run(t, func(t *testing.T) storetest.Env {
			t.Helper()
			return db.env(t, rand.Text(), func() (func(), error) {
				return func() { db.control(t, "resume") }, db.controls("pause")
			})
		})
	})
}

// env returns an Env whose processes have a pool of connections each.
func (db database) env(t *testing.T, name string, stall func() (func(), error)) storetest.Env {
	t.Helper()
	db.store(t, db.pool(t, nil), commitsql.Config{})
	return storetest.Env{
		Open: func() (commit.Store, error) {
			return commitsql.New(db.pool(t, nil), db.dialect, name, commitsql.Config{})
		},
		Kill: func(ctx context.Context, n int) (int, error) { return db.kill(ctx, name, n) },
		// The end of ctx is an end at once, also where the store would wait for a lock.
		Stall: stall, Wait: time.Minute,
	}
}

// A pool of one connection is slow, and not a deadlock: a call that holds a connection waits for no other connection.
func TestOneConnectionIsEnough(t *testing.T) {
	db := newFile(t)
	db.store(t, db.pool(t, nil), commitsql.Config{})
	for _, c := range storetest.Cases() {
		if c.Name != "SavesAtOnce" && c.Name != "ClaimsAtOnce" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			pool := db.pool(t, nil)
			pool.SetMaxOpenConns(1)
			c.Test(t, storetest.Env{Open: func() (commit.Store, error) { return commitsql.New(pool, db.dialect, c.Name, commitsql.Config{}) }})
		})
	}
}

func TestLiveOneConnectionIsEnough(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t, nil)
		pool.SetMaxOpenConns(1)
		s := db.store(t, pool, commitsql.Config{})
		for _, c := range storetest.Cases() {
			if c.Name == "SavesAtOnce" || c.Name == "ClaimsAtOnce" {
				c.Test(t, storetest.Env{Open: func() (commit.Store, error) { return s, nil }, Stream: c.Name})
			}
		}
	})
}

// The settings of a transaction are the store's, and those of the connection are as before when it ends: the pool lends it to
// others.
func TestLiveConnectionKeepsItsSettings(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		show, want := "SELECT current_setting('idle_in_transaction_session_timeout') || ' ' || current_setting('lock_timeout')", "4s 5s"
		switch db.dialect {
		case commitsql.MariaDB:
			show, want = "SELECT CONCAT(@@SESSION.idle_transaction_timeout, ' ', @@SESSION.innodb_lock_wait_timeout)", "4 5"
		case commitsql.MySQL:
			show, want = "SELECT CONCAT(@@SESSION.wait_timeout, ' ', @@SESSION.innodb_lock_wait_timeout)", "4 5"
		case commitsql.PostgreSQL, commitsql.SQLite:
		}
		pool := db.pool(t, nil)
		pool.SetMaxOpenConns(1)
		s := db.store(t, pool, commitsql.Config{})
		read := func(row *sql.Row) (setting string) {
			if err := row.Scan(&setting); err != nil {
				t.Fatal(err)
			}
			return setting
		}
		before := read(pool.QueryRowContext(t.Context(), show))
		var within string
		err := s.Transact(t.Context(), func(c *sql.Conn) error {
			within = read(c.QueryRowContext(t.Context(), show))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after := read(pool.QueryRowContext(t.Context(), show)); within != want || after != before || before == want {
			t.Errorf("the timeouts are %q before a transaction, %q in it, %q after it; want %q in it alone", before, within, after, want)
		}
	})
}
