package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// maxRecord bounds a record, below what a message of the protocol of PostgreSQL can have.
const maxRecord = 1 << 29

// idle is how many seconds a transaction may be silent. More bytes take longer to send, and PostgreSQL counts that as silence.
func idle(bytes int) int { return 10 + bytes>>20 }

// transact runs a transaction. Its statements are plain ones on a connection, and not those of sql.Tx: Commit and Rollback of a
// sql.Tx take no ctx, and a driver may wait in them for a frozen server without end.
//
// After any error the transaction is undone, or its end is unknown, because the connection was lost in COMMIT.
func (s *Store) transact(ctx context.Context, idle int, run func(c *sql.Conn) error) error {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives the connection back; err says more
	for _, q := range s.dialect.begin(idle) {
		if err == nil {
			_, err = c.ExecContext(ctx, q)
		}
	}
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
	if q := s.dialect.restore(); left == nil && q != "" {
		_, left = c.ExecContext(ctx, q)
	}
	if left != nil {
		// The end of the connection undoes all. The pool must not lend it to others in between.
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
	}
	return err
}

// unreadable returns the error of a part of the tables that cannot be read.
func unreadable(part string, err error) error {
	if errors.Is(err, record.ErrNewer) {
		return fmt.Errorf("%s: %w: run that version: %w", part, err, spill.ErrUnusable)
	}
	return fmt.Errorf("%s cannot be read: %w: restore the tables from a backup, or delete its rows, which gives up their messages: %w", part, err, spill.ErrUnusable)
}
