package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/keystrand/keystrand/internal/sqlstore"
)

// ErrUnusable reports a database that does not work until somebody mends it: it is of another dialect, or its tables are missing
// or of another version.
var ErrUnusable = errors.New("sql: the tables are unusable")

// tablesIn returns the tables of Schema in a database. The text of progress has a version of its own.
func tablesIn(db *sql.DB, d Dialect) sqlstore.Database {
	return sqlstore.Database{
		DB: db, Dialect: sqlstore.Dialect(d), Prefix: "keystrand_commit_", Tables: []string{"layout", "owners", "progress"},
		Layout: 1, Content: "progress", Unusable: ErrUnusable,
	}
}

// Create creates the tables, unless they are there. Any number of processes may call it at once. It needs the right to create
// tables; run the statements of [Schema] yourself where the program does not have it.
//
// The error wraps [ErrUnusable] if there are tables of another version, or only some of them and the others cannot be created.
func (s *Store) Create(ctx context.Context) error {
	_, err := s.db.Check(ctx, s.timeouts)
	if !errors.Is(err, ErrUnusable) {
		return s.createError(err)
	}
	var failed error // another process may have been faster
	if s.db.Dialect == sqlstore.SQLite {
		err := s.db.Transact(ctx, s.timeouts, func(c *sql.Conn) error {
			failed = s.execute(ctx, c)
			return nil
		})
		if err != nil {
			return s.createError(err)
		}
	} else {
		failed = s.execute(ctx, s.db.DB)
	}
	if _, err := s.db.Check(ctx, s.timeouts); err != nil {
		return s.createError(errors.Join(err, failed))
	}
	return nil
}

// execer is a *sql.DB or a *sql.Conn.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// execute runs all statements of Schema, also after one that has failed. It returns the first error.
func (s *Store) execute(ctx context.Context, c execer) (failed error) {
	for statement := range strings.SplitSeq(strings.TrimSuffix(Schema(Dialect(s.db.Dialect)), ";\n"), ";\n") {
		if _, err := c.ExecContext(ctx, statement); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

func (s *Store) createError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sql: create the tables of progress in %v: %w", s.db.Dialect, err)
}

// Schema returns the statements that create the tables, for a migration of your own. Statements end with a semicolon and a line.
// They fail where the tables exist. An unknown dialect has none.
//
// Several stores can use the same tables, if their names differ. Rows belong to the store: change none by hand. To let a
// partition begin anew, delete its rows in both tables while no process has it.
func Schema(d Dialect) string {
	switch d {
	case PostgreSQL:
		return schemaPostgreSQL
	case MariaDB, MySQL:
		return schemaMariaDB
	case SQLite:
		return schemaSQLite
	}
	return ""
}

// Streams and names may have any bytes, and any length: they are bytes in the tables, and found by their SHA-256. The epoch and
// the progress of a partition are rows of two tables: transactions that only look at the epoch do not wait for a Save.
const schemaPostgreSQL = `CREATE TABLE keystrand_commit_layout (
	version integer NOT NULL PRIMARY KEY
);
INSERT INTO keystrand_commit_layout (version) VALUES (1);
CREATE TABLE keystrand_commit_owners (
	hash bytea NOT NULL PRIMARY KEY,
	name bytea NOT NULL,
	stream bytea NOT NULL,
	number integer NOT NULL,
	epoch bigint NOT NULL
);
CREATE TABLE keystrand_commit_progress (
	hash bytea NOT NULL PRIMARY KEY,
	progress text NOT NULL
);
`

const schemaMariaDB = `CREATE TABLE keystrand_commit_layout (
	version INTEGER NOT NULL PRIMARY KEY
) ENGINE=InnoDB;
INSERT INTO keystrand_commit_layout (version) VALUES (1);
CREATE TABLE keystrand_commit_owners (
	hash BINARY(32) NOT NULL PRIMARY KEY,
	name LONGBLOB NOT NULL,
	stream LONGBLOB NOT NULL,
	number INTEGER NOT NULL,
	epoch BIGINT NOT NULL
) ENGINE=InnoDB;
CREATE TABLE keystrand_commit_progress (
	hash BINARY(32) NOT NULL PRIMARY KEY,
	progress LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB;
`

const schemaSQLite = `CREATE TABLE keystrand_commit_layout (
	version INTEGER NOT NULL PRIMARY KEY
) STRICT;
INSERT INTO keystrand_commit_layout (version) VALUES (1);
CREATE TABLE keystrand_commit_owners (
	hash BLOB NOT NULL PRIMARY KEY,
	name BLOB NOT NULL,
	stream BLOB NOT NULL,
	number INTEGER NOT NULL,
	epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE keystrand_commit_progress (
	hash BLOB NOT NULL PRIMARY KEY,
	progress TEXT NOT NULL
) STRICT;
`
