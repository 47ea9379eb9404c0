// Package sql is a store of strands in a database, PostgreSQL or MariaDB, for pipelines whose partitions move between machines.
// It uses database/sql alone: the program brings the driver and the *sql.DB.
//
//	db, err := sql.Open("pgx", url) // of database/sql; "mysql" for MariaDB
//	store, err := spillsql.New(db, spillsql.PostgreSQL, "payments")
//
// Create the tables first, with the statements of [Schema]. Append, Save and Open are one transaction each. It begins by locking
// the row of the partition, and checks there that nobody has opened the partition since. So an owner that lost its partition
// stores nothing, also if it was frozen within a transaction, and Open waits for a transaction that is under way.
//
//   - What is reported as durable is as durable as a COMMIT of the database. Keep fsync and synchronous_commit of PostgreSQL on,
//     innodb_flush_log_at_trx_commit and sync_binlog of MariaDB at 1.
//   - All connections go to one server that writes. Behind a failover to a replica that has not got all commits, records are
//     missing. Several writing nodes of a Galera cluster do not see each other's locks: use one.
//   - The store sets the isolation level of each transaction itself: READ COMMITTED.
//   - Two calls of a partition wait for each other, those of different partitions do not. A call uses one connection: if
//     sql.DB.SetMaxOpenConns is smaller than the number of partitions that have records, they wait for each other, too.
//   - A call ends with its ctx, also while the server does not answer. Whether it was stored is unknown then.
//   - A deadlock, a connection that is lost in COMMIT, a server that restarts: the call fails, and the caller calls again.
//   - A machine that is frozen or loses its power in a transaction leaves a lock, and the next Open of the partition waits for
//     it. The database ends a transaction that is silent for 10 s, and one more for each MiB of its Append.
//   - A record is at most 512 MiB, and in MariaDB about max_allowed_packet, which is 16 MiB by default. A larger one is refused
//     with a *spill.RecordError. Leave maxAllowedPacket and interpolateParams of its driver as they are.
//
// It needs MariaDB 10.3 or newer. It is tested with PostgreSQL 15, MariaDB 10.11, and the drivers github.com/jackc/pgx/v5/stdlib
// and github.com/go-sql-driver/mysql.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// Store keeps strands in a database. It is safe for concurrent use.
type Store struct {
	db     sqlstore.Database
	name   string
	closed atomic.Bool
}

var _ spill.Store = (*Store)(nil)

// New returns a store in the database of db, which stays the caller's to close. It connects to nothing.
//
// The name tells apart the pipelines that use the same tables: two that read the same partitions need two names. All members of
// one pipeline use the same name, such as that of its consumer group, also after a restart.
func New(db *sql.DB, d Dialect, name string) (*Store, error) {
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("sql: db is nil: open it with sql.Open of database/sql"))
	}
	if d != PostgreSQL && d != MariaDB {
		errs = append(errs, fmt.Errorf("sql: the dialect %v is none of those that the package names", d))
	}
	if name == "" {
		errs = append(errs, errors.New("sql: the name is empty: use that of the pipeline or of its consumer group"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Store{db: tablesIn(db, d), name: name}, nil
}

// Shared implements spill.Store. It is true.
func (s *Store) Shared() bool { return true }

// Open implements spill.Store.
func (s *Store) Open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	l, strands, err := s.open(ctx, o)
	if err != nil {
		return nil, nil, s.error("open", o, err)
	}
	return l, strands, nil
}

func (s *Store) open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	if s.closed.Load() {
		return nil, nil, spill.ErrClosed
	}
	lim, err := s.db.Check(ctx, sqlstore.Timeouts{})
	if err != nil {
		return nil, nil, err
	}
	l := &ownership{store: s, owner: o, hash: sqlstore.Place(s.name, o.Stream, o.Partition), limits: lim, slot: make(chan struct{}, 1)}
	var strands []spill.Strand
	err = s.db.Transact(ctx, timeouts(0), func(c *sql.Conn) error {
		if err := l.claim(ctx, c); err != nil {
			return err
		}
		var err error
		strands, err = l.strands(ctx, c)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return l, strands, nil
}

// Close implements spill.Store. The *sql.DB stays open.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return fmt.Errorf("sql: close the store %.100q again: %w", s.name, spill.ErrClosed)
	}
	return nil
}

func (s *Store) error(op string, o spill.Owner, err error) error {
	return fmt.Errorf("sql: %s: %s/%d: store %.100q in %v: %w", op, o.Stream, o.Partition, s.name, s.db.Dialect, err)
}

// last is the row of a partition.
type last struct {
	record.Owner

	id int64
}

// lock locks the row of the partition until the end of the transaction and returns it. The error is sql.ErrNoRows if there is
// none. Whatever a transaction decides by, it reads after this.
func (l *ownership) lock(ctx context.Context, c *sql.Conn) (last, error) {
	d := l.store.db.Dialect
	q := "SELECT id, claim, epoch, log FROM keystrand_spill_partitions WHERE hash = ?" + d.Lock()
	var w last
	var log []byte
	err := c.QueryRowContext(ctx, d.Bind(q), l.hash).Scan(&w.id, &w.Claim, &w.Epoch, &log)
	w.Log = string(log)
	return w, err
}

// claim makes l the last owner of its partition.
func (l *ownership) claim(ctx context.Context, c *sql.Conn) error {
	d := l.store.db.Dialect
	w, err := l.lock(ctx, c)
	if errors.Is(err, sql.ErrNoRows) {
		q := "INSERT INTO keystrand_spill_partitions (hash, name, stream, number, claim, epoch, log) VALUES (?, ?, ?, ?, 0, 0, ?)" + d.OrElse("hash")
		if _, err := c.ExecContext(ctx, d.Bind(q), l.hash, []byte(l.store.name), []byte(l.owner.Stream), l.owner.Partition, []byte{}); err != nil {
			return err
		}
		w, err = l.lock(ctx, c)
	}
	if err != nil {
		return err
	}
	if w.Refuses(l.owner) {
		return fmt.Errorf("epoch %d comes after epoch %d: %w", l.owner.Epoch, w.Epoch, commit.ErrFenced)
	}
	w.Claim++
	w.Epoch, w.Log = l.owner.Epoch, l.owner.Log
	l.last = w
	_, err = c.ExecContext(ctx, d.Bind("UPDATE keystrand_spill_partitions SET claim = ?, epoch = ?, log = ? WHERE id = ?"), w.Claim, w.Epoch, []byte(w.Log), w.id)
	return err
}
