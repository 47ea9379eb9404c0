package sql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// strand is a strand in a transaction.
type strand struct {
	record.Strand

	hash    string
	exists  bool // false: there is none, or it was removed
	stored  bool // there is a row
	changed bool
	deleted []entry // records that were deleted and are not counted yet, by offset
}

// entry is a row of a record.
type entry struct {
	hash   string
	offset int64
	size   int64 // of the message
	form   []byte
}

// place names a record.
type place struct {
	hash   string
	offset int64
}

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}

// strands returns all strands of the partition.
func (l *ownership) strands(ctx context.Context, c *sql.Conn) ([]spill.Strand, error) {
	q := "SELECT hash, strand_key, log, from_offset, high_offset, mark_offset, records, bytes, held, reason, since FROM keystrand_spill_strands WHERE partition_id = ?"
	var all []spill.Strand
	err := sqlstore.Query(ctx, c, l.store.db.Dialect.Bind(q), []any{l.last.id}, func(rows *sql.Rows) error {
		var hash, key, log, reason []byte
		var since int64
		var s spill.Strand
		if err := rows.Scan(&hash, &key, &log, &s.From, &s.High, &s.Mark, &s.Records, &s.Bytes, &s.Held, &reason, &since); err != nil {
			return err
		}
		s.Key, s.Reason, s.Since, s.Log = string(key), string(reason), time.Unix(0, since).UTC(), string(log)
		s.Foreign = s.Log != l.owner.Log
		if hashOf(s.Key) != string(hash) {
			return unreadable(fmt.Sprintf("the strand of key %.100q", key), record.ErrCorrupt)
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// load reads the strands of keys. Those without a row begin with the next record.
func (t *transaction) load(ctx context.Context, keys []string) error {
	now := time.Now()
	var hashes []string
	for _, key := range keys {
		h := hashOf(key)
		if t.strands[h] == nil {
			t.strands[h] = &strand{Strand: record.Begin(key, t.l.owner.Log, now), hash: h}
			hashes = append(hashes, h)
		}
	}
	for part := range sqlstore.Parts(hashes, sqlstore.MaxRows) {
		q := "SELECT hash, log, from_offset, high_offset, mark_offset, records, bytes, held, reason FROM keystrand_spill_strands WHERE partition_id = ? AND hash IN " + sqlstore.List(len(part))
		args := []any{t.l.last.id}
		for _, h := range part {
			args = append(args, []byte(h))
		}
		err := sqlstore.Query(ctx, t.c, t.l.store.db.Dialect.Bind(q), args, func(rows *sql.Rows) error {
			var hash, log, reason []byte
			var s spill.Strand
			if err := rows.Scan(&hash, &log, &s.From, &s.High, &s.Mark, &s.Records, &s.Bytes, &s.Held, &reason); err != nil {
				return err
			}
			st := t.strands[string(hash)]
			s.Key, s.Reason, s.Log = st.Key, string(reason), string(log)
			st.Strand = record.Strand{Strand: s}
			st.exists, st.stored = true, true
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish writes the strands that changed.
func (t *transaction) finish(ctx context.Context) error {
	var written, removed []*strand
	for _, st := range t.strands {
		switch {
		case st.changed && st.exists:
			written = append(written, st)
		case st.changed && st.stored:
			removed = append(removed, st)
		}
	}
	d := t.l.store.db.Dialect
	for part := range sqlstore.PartsBySize(written, sqlstore.MaxRows, t.l.limits.Statement, func(st *strand) int { return len(st.Key) + len(st.Log) + len(st.Reason) }) {
		q := "INSERT INTO keystrand_spill_strands (partition_id, hash, strand_key, log, from_offset, high_offset, mark_offset, records, bytes, held, reason, since) VALUES " +
			sqlstore.Lists(len(part), 12) + d.OrElse("partition_id, hash", "from_offset", "high_offset", "mark_offset", "records", "bytes", "held", "reason")
		var args []any
		for _, st := range part {
			held := 0
			if st.Held {
				held = 1
			}
			args = append(args, t.l.last.id, []byte(st.hash), []byte(st.Key), []byte(st.Log), st.From, st.High, st.Mark, st.Records, st.Bytes, held, []byte(st.Reason), st.Since.UnixNano())
		}
		if _, err := t.c.ExecContext(ctx, d.Bind(q), args...); err != nil {
			return err
		}
	}
	for part := range sqlstore.Parts(removed, sqlstore.MaxRows) {
		args := []any{t.l.last.id}
		for _, st := range part {
			args = append(args, []byte(st.hash))
		}
		q := "DELETE FROM keystrand_spill_strands WHERE partition_id = ? AND hash IN " + sqlstore.List(len(part))
		if _, err := t.c.ExecContext(ctx, d.Bind(q), args...); err != nil {
			return err
		}
	}
	return nil
}
