package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
)

// Transact runs a transaction. Its statements are plain ones on a connection, and not those of sql.Tx: Commit and Rollback of a
// sql.Tx take no ctx, and a driver may wait in them for a frozen server without end.
//
// The isolation is READ COMMITTED. It lets each statement see what was committed before it, so what a transaction reads behind
// a lock is what the holder before it has left. A snapshot that is older than the lock would not do. Transactions of SQLite
// run one after the other.
//
// After any error the transaction is undone, or its end is unknown, because the connection was lost in COMMIT.
func (db *Database) Transact(ctx context.Context, t Timeouts, run func(c *sql.Conn) error) error {
	c, err := db.DB.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives the connection back; err says more
	restore, err := db.begin(ctx, c, t)
	if err == nil {
		err = run(c)
	}
	var left error // why the connection may still be in the transaction, or have its settings
	if err == nil {
		if _, err = c.ExecContext(ctx, "COMMIT"); err != nil {
			err = fmt.Errorf("commit: %w", err)
		}
	}
	if err != nil {
		_, left = c.ExecContext(ctx, "ROLLBACK")
	}
	if left == nil && restore != "" {
		_, left = c.ExecContext(ctx, restore)
	}
	if left != nil {
		// The end of the connection undoes all. The pool must not lend it to others in between.
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
	}
	return err
}

// begin begins a transaction. It returns the statement that restores the settings of the connection; empty: there is none.
func (db *Database) begin(ctx context.Context, c *sql.Conn, t Timeouts) (restore string, err error) {
	if db.Dialect == SQLite {
		return beginSQLite(ctx, c, t)
	}
	statements, restore := db.Dialect.begin(t)
	for _, q := range statements {
		if _, err := c.ExecContext(ctx, q); err != nil {
			return restore, err
		}
	}
	return restore, nil
}
