package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// ownership is a spill.Log.
type ownership struct {
	store  *Store
	owner  spill.Owner
	hash   []byte // of the partition
	limits sqlstore.Limits
	last   last // as Open has stored it
	closed atomic.Bool

	// slot is held by a call that writes: the others would hold a connection each while they wait for the lock of the partition.
	slot chan struct{}
}

// Append implements spill.Log. It is one transaction.
func (l *ownership) Append(ctx context.Context, rs []spill.Record) error {
	if len(rs) == 0 {
		return l.error("append", l.usable(ctx))
	}
	entries, bytes := make([]entry, len(rs)), 0
	for i := range rs {
		e, err := l.encode(&rs[i])
		if err != nil {
			return l.error("append", &spill.RecordError{Record: i, Err: err})
		}
		entries[i] = e
		bytes += len(e.form)
	}
	return l.error("append", l.write(ctx, bytes, func(t *transaction) error { return t.append(ctx, rs, entries) }))
}

// encode returns the form of a record, or why it can never be stored.
func (l *ownership) encode(r *spill.Record) (entry, error) {
	if err := record.Check(l.owner, r); err != nil {
		return entry{}, err
	}
	m, err := spill.AsStored(&r.Message)
	if err != nil {
		return entry{}, err
	}
	size := m.Size()
	if n := max(size+128+16*len(m.Headers), len(r.Key)+len(l.owner.Log)); n > l.limits.Value {
		return entry{}, fmt.Errorf("the message needs up to %d bytes, and the database takes %d", n, l.limits.Value)
	}
	return entry{hash: hashOf(r.Key), offset: m.Offset, size: int64(size), form: record.Append(make([]byte, 0, size+96+8*len(m.Headers)), &m)}, nil
}

// Save implements spill.Log. It is one transaction.
func (l *ownership) Save(ctx context.Context, ms []spill.Mark) error {
	if len(ms) == 0 {
		return l.error("save", l.usable(ctx))
	}
	return l.error("save", l.write(ctx, 0, func(t *transaction) error { return t.save(ctx, ms) }))
}

// Read implements spill.Log.
func (l *ownership) Read(ctx context.Context, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	if err := l.usable(ctx); err != nil {
		return nil, l.error("read", err)
	}
	r := &reading{l: l, key: key, hash: hashOf(key), after: after, limit: limit}
	if err := r.run(ctx); err != nil {
		return nil, l.error("read", l.diagnose(ctx, err))
	}
	return r.messages, nil
}

// Close implements spill.Log.
func (l *ownership) Close() error {
	if l.closed.Swap(true) {
		return l.error("close the log again", spill.ErrClosed)
	}
	return nil
}

// write runs a transaction of the owner that sends this many bytes.
func (l *ownership) write(ctx context.Context, bytes int, run func(t *transaction) error) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	select {
	case l.slot <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.slot }()
	return l.diagnose(ctx, l.store.db.Transact(ctx, timeouts(bytes), func(c *sql.Conn) error {
		w, err := l.lock(ctx, c)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := l.owns(err == nil, w.Claim, w.Epoch); err != nil {
			return err
		}
		return run(&transaction{l: l, c: c, strands: make(map[string]*strand)})
	}))
}

// timeouts returns those of a transaction that sends this many bytes. More bytes take longer to send, and PostgreSQL counts that
// as silence.
func timeouts(bytes int) sqlstore.Timeouts {
	return sqlstore.Timeouts{Silent: time.Duration(10+bytes>>20) * time.Second}
}

// usable returns an error if the log is closed or ctx has ended.
func (l *ownership) usable(ctx context.Context) error {
	if l.closed.Load() {
		return spill.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// owns returns ErrFenced after a later Open, given what the row of the partition says, if it exists.
func (l *ownership) owns(exists bool, claim, epoch int64) error {
	switch {
	case !exists:
		return unreadable("the row of the partition", errors.New("it was deleted"))
	case claim != l.last.Claim:
		return fmt.Errorf("epoch %d was followed by epoch %d: %w", l.owner.Epoch, epoch, commit.ErrFenced)
	}
	return nil
}

// diagnose returns err, or why no call can succeed, such as a table that was dropped after Open.
func (l *ownership) diagnose(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, commit.ErrFenced) || errors.Is(err, spill.ErrRecordsLeft) || errors.Is(err, spill.ErrUnusable) {
		return err
	}
	if _, why := l.store.db.Check(ctx, sqlstore.Timeouts{}); errors.Is(why, spill.ErrUnusable) {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

func (l *ownership) error(op string, err error) error {
	if err == nil {
		return nil
	}
	return l.store.error(op, l.owner, err)
}
