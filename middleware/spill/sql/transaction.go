package sql

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
)

// transaction changes strands and their records, behind the lock of the partition. Each strand is read and written once.
type transaction struct {
	l       *ownership
	c       *sql.Conn
	strands map[string]*strand // by hash
}

// append stores records, unless they are there or below the mark.
func (t *transaction) append(ctx context.Context, rs []spill.Record, entries []entry) error {
	keys := make([]string, len(rs))
	for i := range rs {
		keys[i] = rs[i].Key
	}
	if err := t.load(ctx, keys); err != nil {
		return err
	}
	var old []place // places that may have a record: nothing is above High
	admitted := make([]bool, len(rs))
	for i, e := range entries {
		st := t.strands[e.hash]
		var err error
		if admitted[i], err = st.Admits(t.l.owner, e.offset); err != nil {
			return err
		}
		if admitted[i] && st.exists && e.offset <= st.High {
			old = append(old, place{e.hash, e.offset})
		}
	}
	there, err := t.find(ctx, old)
	if err != nil {
		return err
	}
	inserted := make([]entry, 0, len(rs))
	for i, e := range entries {
		if !admitted[i] || there[place{e.hash, e.offset}] {
			continue
		}
		there[place{e.hash, e.offset}] = true
		inserted = append(inserted, e)
		st := t.strands[e.hash]
		st.Add(&rs[i], e.size)
		st.exists, st.changed = true, true
	}
	if err := t.insert(ctx, inserted); err != nil {
		return err
	}
	return t.finish(ctx)
}

// find returns which of these places have a record.
func (t *transaction) find(ctx context.Context, places []place) (map[place]bool, error) {
	there := make(map[place]bool, len(places))
	for part := range sqlstore.Parts(places, maxRanges) {
		q := "SELECT hash, record_offset FROM keystrand_spill_records WHERE partition_id = ? AND " + ranges(len(part), "=")
		err := sqlstore.Query(ctx, t.c, t.l.store.db.Dialect.Bind(q), t.placed(part), func(rows *sql.Rows) error {
			var hash []byte
			var offset int64
			err := rows.Scan(&hash, &offset)
			there[place{string(hash), offset}] = true
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return there, nil
}

// insert writes rows of records.
func (t *transaction) insert(ctx context.Context, entries []entry) error {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.offset, b.offset)) }) // as the index
	insert := insertRows
	if t.l.store.db.Dialect == sqlstore.PostgreSQL {
		insert = insertPacked
	}
	for part := range sqlstore.PartsBySize(entries, sqlstore.MaxRows, t.l.limits.Statement, func(e entry) int { return len(e.form) }) {
		q, args := insert(t.l.last.id, part)
		if _, err := t.c.ExecContext(ctx, t.l.store.db.Dialect.Bind(q), args...); err != nil {
			return err
		}
	}
	return nil
}

// save applies marks, in their order.
func (t *transaction) save(ctx context.Context, ms []spill.Mark) error {
	keys := make([]string, len(ms))
	hashes := make([]string, len(ms))
	for i := range ms {
		keys[i], hashes[i] = ms[i].Key, hashOf(ms[i].Key)
	}
	if err := t.load(ctx, keys); err != nil {
		return err
	}
	through := make(map[string]int64)
	for i, h := range hashes {
		if st := t.strands[h]; st.exists && st.Records > 0 && ms[i].Through > st.Mark {
			through[h] = max(through[h], ms[i].Through) // offsets are not negative
		}
	}
	if err := t.delete(ctx, through); err != nil {
		return err
	}
	for i, h := range hashes {
		st := t.strands[h]
		if !st.exists {
			continue
		}
		before := st.Strand
		count, bytes := st.count(ms[i].Through)
		removed, err := st.Apply(ms[i], count, bytes)
		if err != nil {
			return err
		}
		st.exists = !removed
		st.changed = st.changed || removed || st.Strand != before
	}
	return t.finish(ctx)
}

// delete deletes the records through an offset, for each strand by its hash.
func (t *transaction) delete(ctx context.Context, through map[string]int64) error {
	var places []place
	for h, offset := range through {
		places = append(places, place{h, offset})
	}
	for part := range sqlstore.Parts(places, maxRanges) {
		q := "DELETE FROM keystrand_spill_records WHERE partition_id = ? AND " + ranges(len(part), "<=") + " RETURNING hash, record_offset, size"
		err := sqlstore.Query(ctx, t.c, t.l.store.db.Dialect.Bind(q), t.placed(part), func(rows *sql.Rows) error {
			var hash []byte
			var e entry
			if err := rows.Scan(&hash, &e.offset, &e.size); err != nil {
				return err
			}
			st := t.strands[string(hash)]
			st.deleted = append(st.deleted, e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for h := range through {
		slices.SortFunc(t.strands[h].deleted, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	}
	return nil
}

// count returns how many records were deleted through this offset, and the size of their messages. It counts each once.
func (st *strand) count(through int64) (count, bytes int64) {
	for len(st.deleted) > 0 && st.deleted[0].offset <= through {
		count++
		bytes += st.deleted[0].size
		st.deleted = st.deleted[1:]
	}
	return count, bytes
}

// placed returns the arguments for ranges behind the partition.
func (t *transaction) placed(places []place) []any {
	args := []any{t.l.last.id}
	for _, p := range places {
		args = append(args, []byte(p.hash), p.offset)
	}
	return args
}
