// Package sql is a [commit.Store] in a database: PostgreSQL, MariaDB, MySQL or SQLite. It keeps the progress of sources whose own
// service keeps none, or not all of it, and refuses what a former owner of a partition saves. It uses database/sql alone: the
// program brings the driver and the *sql.DB.
//
//	db, err := sql.Open("pgx", url) // of database/sql; "mysql" for MariaDB and MySQL
//	store, err := commitsql.New(db, commitsql.PostgreSQL, "billing", commitsql.Config{})
//	err = store.Create(ctx) // or run the statements of Schema
//
// Claim is one transaction. Saves that come within 5 ms, or while an earlier transaction of Saves runs, become one transaction:
// a thousand partitions that are saved on one tick cost one or two. A Save of a former owner fails alone, the others of its
// transaction are stored.
//
// Each transaction locks the epochs of its partitions: Claim alone, Save beside others that only look at them. So no Save of a
// former owner is stored after a Claim has returned, and a Claim returns what the last Save has stored.
//
//   - What is reported as durable is as durable as a COMMIT of the database. Keep fsync and synchronous_commit of PostgreSQL on,
//     innodb_flush_log_at_trx_commit and sync_binlog of MariaDB and MySQL at 1, synchronous of SQLite at FULL.
//   - All connections go to one server that writes. Behind a failover to a replica that has not got all commits, progress is
//     older and messages are handled again. Several writing nodes of a Galera cluster do not see each other's locks: use one.
//   - A process that is frozen or loses its power in a transaction leaves locks. The server ends a transaction that is silent for
//     a second less than Config.ClaimTimeout, so the next Claim succeeds within ClaimTimeout. When the old owner wakes, its Save
//     fails. MySQL gets the session's wait_timeout for that.
//   - SQLite is for one machine. Set busy_timeout of its connections to some seconds: drivers need it to open one while the file
//     is locked. Nothing ends the transaction of a frozen process: Claim and Save of all others fail after ClaimTimeout, with an
//     error that says so, until the process goes on or is ended.
//   - A Claim that has waited for a lock for ClaimTimeout fails with an error that names the row.
//   - A row that is damaged or missing is an error that wraps commit.ErrCorrupt and names table and key. No partition begins at 0
//     because of it.
//   - A call ends with its ctx, also while the server does not answer. Whether it was stored is unknown then.
//   - A Store uses up to 9 connections: 8 for Claims at once, and one for Saves. On SQLite it uses one. One is enough for all.
//
// It needs MariaDB 10.3, MySQL 8.0, SQLite 3.37, or newer. It is tested with PostgreSQL 15, MariaDB 10.11, SQLite 3.54, and the
// drivers github.com/jackc/pgx/v5/stdlib, github.com/go-sql-driver/mysql and github.com/ncruces/go-sqlite3/driver. No server of
// MySQL was tried: its statements are tested on MariaDB.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/sqlstore"
)

// Config has the settings of a store. Its zero value has the defaults.
type Config struct {
	// ClaimTimeout is how long a transaction waits for the lock of another one, and a second more than a transaction may be
	// silent before the server ends it. It is at least 2 s, and MariaDB and MySQL count whole seconds. Default: 5 s.
	ClaimTimeout time.Duration
}

// Store keeps progress in a database. It is safe for concurrent use.
type Store struct {
	db       sqlstore.Database
	name     string
	timeouts sqlstore.Timeouts
	limits   atomic.Pointer[sqlstore.Limits] // nil until the tables were found in order

	claims chan struct{} // one in it for each transaction of a Claim: each has a connection
	saves  chan struct{} // one in it while a transaction of Saves runs

	mu   sync.Mutex
	next *batch // gathers Saves; nil: none does; guarded by mu
}

var _ commit.Store = (*Store)(nil)

// maxClaims is how many Claims have a transaction at once. A process that starts claims all its partitions.
const maxClaims = 8

// New returns a store in the database of db, which stays the caller's to close. It connects to nothing.
//
// The name tells apart the pipelines that use the same tables: two that read the same streams need two names. All processes of
// one pipeline use the same name, such as the name of its subscription, also after a restart.
func New(db *sql.DB, d Dialect, name string, cfg Config) (*Store, error) {
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("sql: db is nil: open it with sql.Open of database/sql"))
	}
	if !sqlstore.Dialect(d).Known() {
		errs = append(errs, fmt.Errorf("sql: the dialect %v is none of those that the package names", d))
	}
	if name == "" {
		errs = append(errs, errors.New("sql: the name is empty: use the name of the pipeline or of its subscription"))
	}
	if cfg.ClaimTimeout == 0 {
		cfg.ClaimTimeout = 5 * time.Second
	}
	if cfg.ClaimTimeout < 2*time.Second {
		errs = append(errs, fmt.Errorf("sql: ClaimTimeout is %v: it is at least 2s", cfg.ClaimTimeout))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s := &Store{
		db: tablesIn(db, d), name: name, timeouts: sqlstore.Timeouts{Silent: cfg.ClaimTimeout - time.Second, Lock: cfg.ClaimTimeout},
		claims: make(chan struct{}, maxClaims), saves: make(chan struct{}, 1),
	}
	if d == SQLite {
		s.claims = s.saves // its transactions exclude each other: let them wait here, in turn
	}
	return s, nil
}

// place is a partition in the tables.
type place struct {
	stream    string
	partition int32
	hash      string // the key of its rows
}

func (s *Store) place(stream string, partition int32) place {
	return place{stream, partition, string(sqlstore.Place(s.name, stream, partition))}
}

// check returns what the database takes, if it has the tables. It asks once, and again after a failure.
func (s *Store) check(ctx context.Context) (sqlstore.Limits, error) {
	if lim := s.limits.Load(); lim != nil {
		return *lim, nil
	}
	lim, err := s.db.Check(ctx, s.timeouts)
	if err == nil {
		s.limits.Store(&lim)
	}
	return lim, err
}

// transact runs a transaction in tables that are in order. If it fails because they are not, the error says so.
func (s *Store) transact(ctx context.Context, run func(c *sql.Conn) error) error {
	err := s.db.Transact(ctx, s.timeouts, run)
	if err == nil || ctx.Err() != nil || errors.Is(err, commit.ErrCorrupt) || errors.Is(err, sqlstore.ErrLocked) {
		return err
	}
	if _, why := s.db.Check(ctx, s.timeouts); errors.Is(why, ErrUnusable) {
		s.limits.Store(nil)
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// error returns the error of a call, with its partition.
func (s *Store) error(op string, p place, err error) error {
	return fmt.Errorf("sql: %s: %s/%d: store %.100q in %v: %w", op, p.stream, p.partition, s.name, s.db.Dialect, err)
}

// enter waits for a place in slots, which its caller takes out again.
func enter(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
