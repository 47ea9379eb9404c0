package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Prune deletes up to limit records of the consumer that are older than the given age, by the clock of the database, and returns
// how many. Call it again until it returns 0: each call is a transaction of its own.
//
// A message that is redelivered after its record was deleted is handled again. So the age must be longer than a message can wait
// between its first handling and a commit of the pipeline behind it: longer than any outage, stop or block of a key, and than an
// operator may set offsets back. A week is a good start.
func (b *Inbox) Prune(ctx context.Context, db *sql.DB, older time.Duration, limit int) (int64, error) {
	if older < time.Second || limit < 1 {
		return 0, fmt.Errorf("inbox: Prune: the age %v and the limit %d must be at least 1s and 1", older, limit)
	}
	n, err := b.prune(ctx, db, older, limit)
	if err != nil {
		return 0, fmt.Errorf("inbox: prune consumer %q: %w", b.consumer, err)
	}
	return n, nil
}

func (b *Inbox) prune(ctx context.Context, db *sql.DB, older time.Duration, limit int) (removed int64, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // locks no gap between records
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	old, err := b.old(ctx, tx, older, limit)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	remove, err := tx.PrepareContext(ctx, b.statements.remove)
	if err != nil {
		return 0, err
	}
	for _, r := range old {
		result, err := remove.ExecContext(ctx, []byte(b.consumer), r.place, r.offset, r.time)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected() // 0: another Prune was faster
		if err != nil {
			return 0, err
		}
		removed += n
	}
	return removed, tx.Commit()
}

// row is the primary key of a record, without its consumer.
type row struct {
	place        []byte
	offset, time int64
}

func (b *Inbox) old(ctx context.Context, tx *sql.Tx, older time.Duration, limit int) (old []row, err error) {
	rows, err := tx.QueryContext(ctx, b.statements.old, []byte(b.consumer), int64(older/time.Second), limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.place, &r.offset, &r.time); err != nil {
			return nil, err
		}
		old = append(old, r)
	}
	return old, rows.Err()
}
