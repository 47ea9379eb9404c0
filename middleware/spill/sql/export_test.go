package sql

import (
	"context"
	"database/sql"
)

// Parts cuts n rows of the given size, and returns the lengths of the parts.
func Parts(n, rows, size, bytes int) []int {
	var lengths []int
	for part := range partsBySize(make([]struct{}, n), rows, bytes, func(struct{}) int { return size }) {
		lengths = append(lengths, len(part))
	}
	return lengths
}

func (d Dialect) Bind(query string) string { return d.bind(query) }

func (s *Store) Transact(ctx context.Context, run func(c *sql.Conn) error) error {
	return s.transact(ctx, idle(0), run)
}

// Locked runs run behind the lock of a log's partition.
func Locked(ctx context.Context, l any, run func(c *sql.Conn) error) error {
	o := l.(*ownership) //nolint:errcheck // a test panics
	return o.store.transact(ctx, idle(0), func(c *sql.Conn) error {
		if _, err := o.lock(ctx, c, idle(0)); err != nil {
			return err
		}
		return run(c)
	})
}
