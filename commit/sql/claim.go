package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Claim implements [commit.Store]. Beside its contract: the error wraps commit.ErrCorrupt if a row of the partition is damaged,
// commit.ErrVersion if a newer release has saved the progress, and [ErrUnusable]. Nothing is claimed then.
func (s *Store) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	p := s.place(stream, partition)
	progress, err := s.claim(ctx, p, epoch)
	if err != nil {
		return nil, s.error("claim", p, err)
	}
	return progress, nil
}

func (s *Store) claim(ctx context.Context, p place, epoch int64) (progress *commit.Progress, err error) {
	if err := enter(ctx, s.claims); err != nil {
		return nil, err
	}
	defer func() { <-s.claims }()
	if _, err := s.check(ctx); err != nil {
		return nil, err
	}
	err = s.transact(ctx, func(c *sql.Conn) error {
		last, err := s.own(ctx, c, p)
		if err != nil {
			return err
		}
		if progress, err = s.restore(ctx, c, p, last); err != nil {
			return err
		}
		progress.Epoch = max(epoch, last+1)
		q := "UPDATE keystrand_commit_owners SET epoch = ? WHERE hash = ?"
		_, err = c.ExecContext(ctx, s.db.Dialect.Bind(q), progress.Epoch, []byte(p.hash))
		return err
	})
	if err != nil {
		return nil, err
	}
	return progress, nil
}

// own locks the row of the owner, and makes it if there is none. It returns the last epoch that was claimed, 0 if none was.
func (s *Store) own(ctx context.Context, c *sql.Conn, p place) (last int64, err error) {
	last, err = s.lock(ctx, c, p)
	if !errors.Is(err, sql.ErrNoRows) {
		return last, err
	}
	q := "INSERT INTO keystrand_commit_owners (hash, name, stream, number, epoch) VALUES (?, ?, ?, ?, 0)" + s.db.Dialect.OrElse("hash")
	if _, err := c.ExecContext(ctx, s.db.Dialect.Bind(q), []byte(p.hash), []byte(s.name), []byte(p.stream), p.partition); err != nil {
		return 0, err
	}
	return s.lock(ctx, c, p)
}

// lock locks the row of the owner until the end of the transaction, and returns its epoch. Whatever a transaction decides by, it
// reads after this. The error is sql.ErrNoRows if there is no row.
func (s *Store) lock(ctx context.Context, c *sql.Conn, p place) (epoch int64, err error) {
	q := "SELECT name, stream, number, epoch FROM keystrand_commit_owners WHERE hash = ?" + s.db.Dialect.Lock()
	var name, stream []byte
	var number int32
	begun := time.Now()
	err = c.QueryRowContext(ctx, s.db.Dialect.Bind(q), []byte(p.hash)).Scan(&name, &stream, &number, &epoch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, err
	case err != nil && time.Since(begun) > s.timeouts.Silent:
		return 0, fmt.Errorf("the row of keystrand_commit_owners with the hash %x is locked: another transaction has it, and its process may be frozen: end that process, or its session in the database: %w",
			p.hash, err)
	case err != nil:
		return 0, fmt.Errorf("lock the row of keystrand_commit_owners with the hash %x: %w", p.hash, err)
	case string(name) != s.name || string(stream) != p.stream || number != p.partition:
		return 0, damaged("owners", p, fmt.Errorf("it is of the store %.100q and %.100q/%d", name, stream, number))
	case epoch < 0 || epoch == math.MaxInt64:
		return 0, damaged("owners", p, fmt.Errorf("its epoch is %d", epoch))
	}
	return epoch, nil
}

// restore returns the progress of the last Save, with its epoch, given the last epoch that was claimed. It makes the row of a
// partition that nobody has claimed yet.
func (s *Store) restore(ctx context.Context, c *sql.Conn, p place, last int64) (*commit.Progress, error) {
	var text string
	q := "SELECT progress FROM keystrand_commit_progress WHERE hash = ?"
	err := c.QueryRowContext(ctx, s.db.Dialect.Bind(q), []byte(p.hash)).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows) && last == 0:
		none := &commit.Progress{}
		return none, s.write(ctx, c, []*save{{place: p, text: encode(none)}}, 0)
	case errors.Is(err, sql.ErrNoRows):
		return nil, damaged("progress", p, errors.New("it is missing"))
	case err != nil:
		return nil, err
	}
	progress, err := commit.Decode(text)
	switch {
	case errors.Is(err, commit.ErrVersion):
		return nil, fmt.Errorf("the row of keystrand_commit_progress with the hash %x: %w: run that version", p.hash, err)
	case err != nil:
		return nil, damaged("progress", p, err)
	case progress.Epoch > last:
		return nil, damaged("progress", p, fmt.Errorf("it is of epoch %d, and the last epoch that was claimed is %d", progress.Epoch, last))
	}
	return progress, nil
}

// damaged returns the error of a row that cannot be used.
func damaged(table string, p place, err error) error {
	return fmt.Errorf("the row of keystrand_commit_%s with the hash %x is damaged: %w: %w: restore it from a backup, or delete the rows of this hash in keystrand_commit_owners and keystrand_commit_progress: the partition then begins anew",
		table, p.hash, err, commit.ErrCorrupt)
}

func encode(p *commit.Progress) string {
	text, _ := commit.Encode(p, 0) // without a limit all of it
	return text
}
