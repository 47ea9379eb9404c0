package sql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/sqlstore"
)

// save is a Save.
type save struct {
	place

	epoch int64
	text  string
	gone  bool  // its caller has returned; guarded by Store.mu
	err   error // written by the goroutine of its batch before batch.over is closed
}

// Save implements [commit.Store]. It waits up to 5 ms for other Saves, to share their transaction. Its ctx ends its waiting, and
// not the transaction of the others.
func (s *Store) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	sv := &save{place: s.place(stream, partition), epoch: p.Epoch, text: encode(p)}
	if err := s.join(ctx, sv); err != nil {
		return s.error("save", sv.place, err)
	}
	return nil
}

// store stores saves in one transaction. It sets the err of each.
func (s *Store) store(ctx context.Context, saves []*save) {
	err := s.storeAll(ctx, saves)
	for _, sv := range saves {
		if sv.err == nil {
			sv.err = err
		}
	}
}

// storeAll stores those of the saves that can be stored, and sets the err of the others.
func (s *Store) storeAll(ctx context.Context, saves []*save) error {
	lim, err := s.check(ctx)
	if err != nil {
		return err
	}
	for _, sv := range saves {
		if n := len(sv.text); n > lim.Value {
			sv.err = fmt.Errorf("the progress needs %d bytes, and the database takes %d", n, lim.Value)
		}
	}
	return s.transact(ctx, func(c *sql.Conn) error {
		owned, err := s.owned(ctx, c, saves)
		if err != nil || len(owned) == 0 {
			return err
		}
		return s.write(ctx, c, owned, lim.Statement)
	})
}

// owned locks the epochs of the partitions until the end of the transaction, and returns the saves of their owners, by hash. If
// there are several of one partition, it returns the last one.
func (s *Store) owned(ctx context.Context, c *sql.Conn, saves []*save) ([]*save, error) {
	last := make(map[string]*save, len(saves))
	epochs := make(map[string]int64, len(saves))
	hashes := make([]string, 0, len(saves))
	for _, sv := range saves {
		hashes = append(hashes, sv.hash)
	}
	slices.Sort(hashes) // all transactions lock in this order
	hashes = slices.Compact(hashes)
	for part := range sqlstore.Parts(hashes, sqlstore.MaxRows) {
		q := "SELECT hash, epoch FROM keystrand_commit_owners WHERE hash IN " + sqlstore.List(len(part)) + " ORDER BY hash" + s.db.Dialect.LockShared()
		args := make([]any, len(part))
		for i, h := range part {
			args[i] = []byte(h)
		}
		err := sqlstore.Query(ctx, c, s.db.Dialect.Bind(q), args, func(rows *sql.Rows) error {
			var hash []byte
			var epoch int64
			err := rows.Scan(&hash, &epoch)
			epochs[string(hash)] = epoch
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("lock the rows of keystrand_commit_owners: %w", err)
		}
	}
	for _, sv := range saves {
		epoch, claimed := epochs[sv.hash]
		switch {
		case sv.err != nil:
		case !claimed:
			sv.err = fmt.Errorf("nobody has claimed the partition, or its row of keystrand_commit_owners was deleted: hash %x: %w", sv.hash, commit.ErrFenced)
		case epoch != sv.epoch:
			sv.err = fmt.Errorf("epoch %d is claimed, not %d: %w", epoch, sv.epoch, commit.ErrFenced)
		default:
			last[sv.hash] = sv
		}
	}
	owned := make([]*save, 0, len(last))
	for _, h := range hashes {
		if sv := last[h]; sv != nil {
			owned = append(owned, sv)
		}
	}
	return owned, nil
}

// write writes the rows of progress, in statements of at most this many bytes.
func (s *Store) write(ctx context.Context, c *sql.Conn, saves []*save, bytes int) error {
	for part := range sqlstore.PartsBySize(saves, sqlstore.MaxRows, bytes, func(sv *save) int { return len(sv.text) }) {
		args := make([]any, 0, 2*len(part))
		for _, sv := range part {
			args = append(args, []byte(sv.hash), sv.text)
		}
		q := "INSERT INTO keystrand_commit_progress (hash, progress) VALUES " + sqlstore.Lists(len(part), 2) + s.db.Dialect.OrElse("hash", "progress")
		if _, err := c.ExecContext(ctx, s.db.Dialect.Bind(q), args...); err != nil {
			return err
		}
	}
	return nil
}
