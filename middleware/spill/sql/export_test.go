package sql

import (
	"context"
	"database/sql"
)

// Locked runs run behind the lock of a log's partition.
func Locked(ctx context.Context, l any, run func(c *sql.Conn) error) error {
	o := l.(*ownership) //nolint:errcheck // a test panics
	return o.store.db.Transact(ctx, timeouts(0), func(c *sql.Conn) error {
		if _, err := o.lock(ctx, c); err != nil {
			return err
		}
		return run(c)
	})
}
