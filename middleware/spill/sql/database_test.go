package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

var owner = spill.Owner{Stream: "orders", Partition: 3, Epoch: 1}

// database is an empty place for tables, on a service.
type database struct {
	dialect spillsql.Dialect
	driver  string
	url     string
}

// service is a database of tools/services.
type service struct {
	dialect spillsql.Dialect
	name    string
	driver  string
	env     string
}

func services() []service {
	return []service{
		{spillsql.PostgreSQL, "postgres", "pgx", "KEYSTRAND_POSTGRES"},
		{spillsql.MariaDB, "mariadb", "mysql", "KEYSTRAND_MARIADB"},
	}
}

// onEach runs test on each service, in a database with the tables.
func onEach(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	for _, s := range services() {
		t.Run(s.dialect.String(), func(t *testing.T) { test(t, s.newDatabase(t, true)) })
	}
}

// newDatabase makes a database, or a schema of PostgreSQL, which is removed when the test ends.
func (s service) newDatabase(tb testing.TB, withTables bool) database {
	tb.Helper()
	url := os.Getenv(s.env)
	if url == "" {
		tb.Skipf("%s is not set: run tools/services/services up %s; eval \"$(tools/services/services env)\"", s.env, s.name)
	}
	admin, err := sql.Open(s.driver, url)
	if err != nil {
		tb.Fatal(err)
	}
	name := strings.ToLower(fmt.Sprintf("spill_%d_%s", os.Getpid(), randomName()))
	create, drop := "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE"
	if s.dialect == spillsql.MariaDB {
		create, drop = "CREATE DATABASE "+name, "DROP DATABASE "+name
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
	db := database{dialect: s.dialect, driver: s.driver, url: url + "&search_path=" + name}
	if s.dialect == spillsql.MariaDB {
		db.url = url[:strings.LastIndexByte(url, '/')+1] + name
	}
	if withTables {
		pool := db.pool(tb)
		for statement := range strings.SplitSeq(spillsql.Schema(s.dialect), ";\n") {
			if statement != "" {
				exec1(tb, pool, statement)
			}
		}
	}
	return db
}

// pool opens a pool of connections, which is closed when the test ends.
func (db database) pool(tb testing.TB) *sql.DB {
	tb.Helper()
	pool, err := sql.Open(db.driver, db.url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = pool.Close() })
	return pool
}

// store returns a store on a pool of its own.
func (db database) store(tb testing.TB, name string) *spillsql.Store {
	tb.Helper()
	return newStore(tb, db.pool(tb), db.dialect, name)
}

func newStore(tb testing.TB, pool *sql.DB, d spillsql.Dialect, name string) *spillsql.Store {
	tb.Helper()
	s, err := spillsql.New(pool, d, name)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func open(tb testing.TB, s spill.Store, o spill.Owner) spill.Log {
	tb.Helper()
	l, _, err := s.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func exec1(tb testing.TB, pool *sql.DB, statement string, args ...any) {
	tb.Helper()
	if _, err := pool.ExecContext(tb.Context(), statement, args...); err != nil {
		tb.Fatalf("%.200s: %v", statement, err)
	}
}

// record returns a record of 1 kB.
func record(key string, offset int64) spill.Record {
	return spill.Record{Key: key, Message: keystrand.Message{Stream: "orders", Partition: 3, Offset: offset, Value: make([]byte, 1000)}}
}

// control runs a command of tools/services on the node of a database.
func control(t *testing.T, d spillsql.Dialect, command string) {
	t.Helper()
	for _, s := range services() {
		if s.dialect != d {
			continue
		}
		program := os.Getenv(s.env + "_CTL")
		if program == "" {
			t.Skipf("%s_CTL is not set: eval \"$(tools/services/services env)\"", s.env)
		}
		if out, err := exec.Command(program, command, s.name, "1").CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", command, s.name, err, out)
		}
	}
}
