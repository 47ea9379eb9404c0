package sql

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// maxPage is how many records one query returns at most.
const maxPage = 1000

// readQuery returns the claim of the partition, the strand and a page of its records, all as they were at one moment. Without a
// strand or records there is one row, with NULL. The sizes are summed before the messages are fetched: those that would make the
// page too large are NULL, but never the first.
const readQuery = `SELECT p.claim, p.epoch, s.mark_offset, s.records, w.record_offset, w.size, r.message
FROM keystrand_spill_partitions p
LEFT JOIN keystrand_spill_strands s ON s.partition_id = p.id AND s.hash = ?
LEFT JOIN (
	SELECT partition_id, hash, record_offset, size, SUM(size) OVER (ORDER BY record_offset) AS total
	FROM (
		SELECT partition_id, hash, record_offset, size FROM keystrand_spill_records
		WHERE partition_id = ? AND hash = ? AND record_offset > ? ORDER BY record_offset LIMIT ?
	) page
) w ON w.partition_id = s.partition_id AND w.hash = s.hash
LEFT JOIN keystrand_spill_records r ON r.partition_id = w.partition_id AND r.hash = w.hash AND r.record_offset = w.record_offset
	AND (w.total <= ? OR w.total = w.size)
WHERE p.id = ? ORDER BY w.record_offset`

// reading is a Read.
type reading struct {
	l     *ownership
	key   string
	hash  string
	after int64
	limit spill.Size

	messages []keystrand.Message
	got      spill.Size
	counted  int64 // records of the strand
	mark     int64
	full     bool // there are records that were not read
}

// run reads page by page.
func (r *reading) run(ctx context.Context) error {
	c, err := r.l.store.db.DB.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives the connection back
	for after := r.after; after < math.MaxInt64; after = r.messages[len(r.messages)-1].Offset {
		n := maxPage
		if r.limit.Messages > 0 {
			n = min(n, r.limit.Messages-r.got.Messages)
		}
		if n == 0 {
			return nil
		}
		found, err := r.page(ctx, c, after, n)
		if err != nil {
			return err
		}
		if r.full || found < n {
			break
		}
	}
	if !r.full && len(r.messages) < maxPage && // else the count is of another moment than the first page
		r.after <= r.mark && int64(len(r.messages)) != r.counted {
		return unreadable(fmt.Sprintf("key %.100q", r.key), fmt.Errorf("it counts %d records and has %d", r.counted, len(r.messages)))
	}
	return nil
}

// page reads up to n records above an offset, and returns how many it found.
func (r *reading) page(ctx context.Context, c *sql.Conn, after int64, n int) (int, error) {
	d := r.l.store.db.Dialect
	if q := d.Isolate(); q != "" {
		if _, err := c.ExecContext(ctx, q); err != nil {
			return 0, err
		}
	}
	bytes := int64(math.MaxInt64)
	if r.limit.Bytes > 0 {
		bytes = int64(r.limit.Bytes - r.got.Bytes)
	}
	hash := []byte(r.hash)
	found, exists := 0, false
	args := []any{hash, r.l.last.id, hash, after, n, bytes, r.l.last.id}
	err := sqlstore.Query(ctx, c, d.Bind(readQuery), args, func(rows *sql.Rows) error {
		var claim, epoch int64
		var mark, counted, offset, size sql.NullInt64
		var form []byte
		if err := rows.Scan(&claim, &epoch, &mark, &counted, &offset, &size, &form); err != nil {
			return err
		}
		exists = true
		if err := r.l.owns(true, claim, epoch); err != nil {
			return err
		}
		r.mark, r.counted = mark.Int64, counted.Int64
		if !offset.Valid || r.full {
			return nil
		}
		found++
		return r.add(offset.Int64, int(size.Int64), form)
	})
	if err == nil && !exists {
		err = r.l.owns(false, 0, 0)
	}
	return found, err
}

// add adds a record, if it still fits.
func (r *reading) add(offset int64, size int, form []byte) error {
	if r.full = form == nil || r.limit.Full(r.got, size); r.full {
		return nil
	}
	m, err := record.Decode(form)
	if err == nil && (m.Offset != offset || m.Size() != size) {
		err = record.ErrCorrupt
	}
	if err != nil {
		return unreadable(fmt.Sprintf("key %.100q offset %d", r.key, offset), err)
	}
	m.Stream, m.Partition, m.Epoch = r.l.owner.Stream, r.l.owner.Partition, r.l.owner.Epoch
	r.messages = append(r.messages, m)
	r.got.Messages++
	r.got.Bytes += size
	return nil
}
