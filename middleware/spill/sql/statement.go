package sql

import (
	"context"
	"database/sql"
	"iter"
	"math/bits"
	"strings"
)

const (
	maxRows   = 512 // rows of a statement
	maxRanges = 64  // conditions of a statement that are joined with OR: planning takes longer for each
)

// querier is a *sql.DB or a *sql.Conn.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query calls each for every row of the result.
func query(ctx context.Context, c querier, q string, args []any, each func(rows *sql.Rows) error) error {
	rows, err := c.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err says more
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// list returns "(?, ?)" with n question marks.
func list(n int) string { return "(?" + strings.Repeat(", ?", n-1) + ")" }

// lists returns "(?, ?), (?, ?)": n lists of this many columns.
func lists(n, columns int) string {
	one := list(columns)
	return one + strings.Repeat(", "+one, n-1)
}

// ranges returns "(hash = ? AND record_offset = ? OR …)" for n pairs, with this operator.
func ranges(n int, operator string) string {
	one := "hash = ? AND record_offset " + operator + " ?"
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

// parts cuts all into parts for one statement each. The length of a part is a power of two, so there are few statements: pgx
// keeps them prepared on PostgreSQL. The driver of MariaDB keeps none.
func parts[T any](all []T, rows int) iter.Seq[[]T] {
	return partsBySize(all, rows, 0, func(T) int { return 0 })
}

// partsBySize is parts with a limit of the sum of sizes. A row that is larger has a statement of its own.
func partsBySize[T any](all []T, rows, bytes int, size func(T) int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			n := 1
			for sum := size(all[0]); n < min(len(all), rows); n++ {
				if sum += size(all[n]); sum > bytes {
					break
				}
			}
			n = 1 << (bits.Len(uint(n)) - 1) // n is at least 1
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}
