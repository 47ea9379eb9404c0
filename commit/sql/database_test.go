package sql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
)

// database is an empty place for tables: a file, or a database on a service.
type database struct {
	dialect commitsql.Dialect
	service string // of tools/services; empty: a file
	driver  string
	url     string
}

// newFile returns a place in a file. Its transactions do not wait for the disk. The time-out is for the
// statements with which the driver opens a connection.
func newFile(tb testing.TB) database {
	tb.Helper()
	return database{dialect: commitsql.SQLite, driver: "sqlite3", url: "file:" + filepath.Join(tb.TempDir(), "progress") + "?_pragma=busy_timeout(10000)&_pragma=synchronous(off)"}
}

// onServices runs test in an empty database on each service. MySQL is MariaDB with the statements for MySQL.
func onServices(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	for _, db := range services() {
		t.Run(db.dialect.String(), func(t *testing.T) { test(t, db.newDatabase(t)) })
	}
}

// services returns the databases without a place in them.
func services() []database {
	return []database{
		{dialect: commitsql.PostgreSQL, service: "postgres", driver: "pgx"},
		{dialect: commitsql.MariaDB, service: "mariadb", driver: "mysql"},
		{dialect: commitsql.MySQL, service: "mariadb", driver: "mysql"},
	}
}

// newDatabase makes a database, or a schema of PostgreSQL, which is removed when the test ends.
func (db database) newDatabase(tb testing.TB) database {
	tb.Helper()
	variable := "KEYSTRAND_" + strings.ToUpper(db.service)
	url := os.Getenv(variable)
	if url == "" {
		tb.Skipf("%s is not set: run tools/services/services up %s; eval \"$(tools/services/services env)\"", variable, db.service)
	}
	admin, err := sql.Open(db.driver, url)
	if err != nil {
		tb.Fatal(err)
	}
	name := strings.ToLower(fmt.Sprintf("commit_%d_%s", os.Getpid(), rand.Text()[:10]))
	create, drop := "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE"
	db.url = url + "&search_path=" + name
	if db.service == "mariadb" {
		create, drop = "CREATE DATABASE "+name, "DROP DATABASE "+name
		db.url = url[:strings.LastIndexByte(url, '/')+1] + name
	}
	if _, err := admin.ExecContext(tb.Context(), create); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), drop) // after the end of tb.Context
		if err := errors.Join(err, admin.Close()); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// pool opens a pool of connections, which is closed when the test ends. The hook may be nil.
func (db database) pool(tb testing.TB, h hook) *sql.DB {
	tb.Helper()
	pool, err := db.open(h)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = pool.Close() })
	return pool
}

// store returns a store, and creates its tables if there are none.
func (db database) store(tb testing.TB, pool *sql.DB, cfg commitsql.Config) *commitsql.Store {
	tb.Helper()
	s, err := commitsql.New(pool, db.dialect, "billing", cfg)
	if err == nil {
		err = s.Create(tb.Context())
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func exec1(t *testing.T, pool *sql.DB, statement string) {
	t.Helper()
	if _, err := pool.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// control runs a command of tools/services on the node of a database.
func (db database) control(t *testing.T, command string) {
	t.Helper()
	if err := db.controls(command); err != nil {
		t.Fatal(err)
	}
}

func (db database) controls(command string) error {
	program := os.Getenv("KEYSTRAND_" + strings.ToUpper(db.service) + "_CTL")
	if out, err := exec.Command(program, command, db.service, "1").CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", command, db.service, err, out)
	}
	return nil
}

func claim(tb testing.TB, s commit.Store, partition int32) *commit.Progress {
	tb.Helper()
	p, err := s.Claim(tb.Context(), "orders", partition, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func save(t *testing.T, s commit.Store, partition int32, epoch, frontier int64) {
	t.Helper()
	if err := s.Save(t.Context(), "orders", partition, progressAt(epoch, frontier)); err != nil {
		t.Fatal(err)
	}
}

// short is a store's configuration for tests in which something is locked.
func short() commitsql.Config { return commitsql.Config{ClaimTimeout: 2 * time.Second} }
