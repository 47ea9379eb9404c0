package sql

import (
	"context"
	"database/sql"
)

// Transact runs a transaction of the store.
func (s *Store) Transact(ctx context.Context, run func(c *sql.Conn) error) error {
	return s.db.Transact(ctx, s.timeouts, run)
}
