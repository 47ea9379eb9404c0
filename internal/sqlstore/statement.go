package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"iter"
	"math/bits"
	"strings"
)

// MaxRows is how many rows one statement names.
const MaxRows = 512

// Place returns the key of a partition in tables that stores with different names share. Names and streams have any bytes.
func Place(name, stream string, partition int32) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(name))) // no name and stream are the beginning of others
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(partition)) // the bits are a name
	sum := sha256.Sum256(append(b, stream...))
	return sum[:]
}

// querier is a *sql.DB or a *sql.Conn.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Query calls each for every row of the result.
func Query(ctx context.Context, c querier, q string, args []any, each func(rows *sql.Rows) error) error {
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

// List returns "(?, ?)" with n question marks.
func List(n int) string { return "(?" + strings.Repeat(", ?", n-1) + ")" }

// Lists returns "(?, ?), (?, ?)": n lists of this many columns.
func Lists(n, columns int) string {
	one := List(columns)
	return one + strings.Repeat(", "+one, n-1)
}

// Parts cuts all into parts for one statement each. The length of a part is a power of two, so there are few statements: pgx
// keeps them prepared on PostgreSQL. The driver of MariaDB keeps none.
func Parts[T any](all []T, rows int) iter.Seq[[]T] {
	return PartsBySize(all, rows, 0, func(T) int { return 0 })
}

// PartsBySize is Parts with a limit of the sum of sizes. A row that is larger has a statement of its own.
func PartsBySize[T any](all []T, rows, bytes int, size func(T) int) iter.Seq[[]T] {
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
