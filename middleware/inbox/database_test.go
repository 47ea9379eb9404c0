package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/inbox"
)

// database is an empty database with the table, and a table for effects.
type database struct {
	*sql.DB
	dialect inbox.Dialect
}

// onEach runs test on each service of tools/services.
func onEach(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newDatabase(t, inbox.PostgreSQL)) })
	t.Run("MariaDB", func(t *testing.T) { test(t, newDatabase(t, inbox.MariaDB)) })
}

func newDatabase(tb testing.TB, d inbox.Dialect) database {
	tb.Helper()
	service, driver, env := "postgres", "pgx", "KEYSTRAND_POSTGRES"
	if d == inbox.MariaDB {
		service, driver, env = "mariadb", "mysql", "KEYSTRAND_MARIADB"
	}
	url := os.Getenv(env)
	if url == "" {
		tb.Skipf("%s is not set: run tools/services/services up %s; eval \"$(tools/services/services env)\"", env, service)
	}
	admin := pool(tb, driver, url)
	name := fmt.Sprintf("inbox_%d_%d", os.Getpid(), time.Now().UnixNano())
	create, drop := "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE"
	if d == inbox.MariaDB {
		create, drop = "CREATE DATABASE "+name, "DROP DATABASE "+name
		url = url[:strings.LastIndexByte(url, '/')+1] + name
	} else {
		url += "&search_path=" + name
	}
	run(tb, admin, create)
	tb.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), drop); err != nil { // after the end of tb.Context
			tb.Error(err)
		}
	})
	db := database{pool(tb, driver, url), d}
	for statement := range strings.SplitSeq(inbox.Schema(d), ";\n") {
		if statement != "" {
			run(tb, db.DB, statement)
		}
	}
	run(tb, db.DB, "CREATE TABLE effects (message_offset bigint NOT NULL)")
	return db
}

func pool(tb testing.TB, driver, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func run(tb testing.TB, db *sql.DB, statement string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), statement, args...); err != nil {
		tb.Fatalf("%.100s: %v", statement, err)
	}
}

func (db database) count(tb testing.TB, query string) (n int64) {
	tb.Helper()
	if err := db.QueryRowContext(tb.Context(), query).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}

func (db database) inbox(tb testing.TB, consumer string) *inbox.Inbox {
	tb.Helper()
	b, err := inbox.New(db.dialect, consumer)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (db database) begin(tb testing.TB, o *sql.TxOptions) *sql.Tx {
	tb.Helper()
	tx, err := db.BeginTx(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// seen calls Seen in a transaction of its own and commits it.
func (db database) seen(tb testing.TB, b *inbox.Inbox, log string, m keystrand.Message) bool {
	tb.Helper()
	tx := db.begin(tb, nil)
	seen, err := b.Seen(keystrand.WithLog(tb.Context(), log), tx, &m)
	if err := errors.Join(err, tx.Commit()); err != nil {
		tb.Fatal(err)
	}
	return seen
}

func message() keystrand.Message {
	return keystrand.Message{Stream: "orders", Partition: 3, Offset: 42, Time: time.UnixMilli(1_700_000_000_000), Epoch: 7, Attempt: 1}
}
