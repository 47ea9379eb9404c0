package demux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source/binlog"
)

// feed reads the log and numbers its rows, statements and transaction ends, for all tables or for one. A feed is used by one
// goroutine.
type feed struct {
	ses  *session
	only *table // nil: the shared reader, for all tables
	what string // the operation, for people

	last  mark  // transaction end behind which a reader can be opened
	n     int64 // number of what comes next
	began int64 // number at which the open transaction began
	known int   // ses.known[known:] are not passed
	bytes int   // of log since idle tables were moved

	taps    map[string]*tap
	byTable map[*binlog.Table]*tap // nil: the rows are not for this feed
	touched []*tap                 // have something of the open transaction
	end     mark                   // of the open transaction; room for a pointer
}

// tap is what a feed has for one table.
type tap struct {
	t        *table
	chunks   []chunk // of the open transaction, not pushed yet
	bytes    int     // of log, of these chunks
	told     *string // state from the open transaction
	touched  bool
	numbered bool  // the table is not skipped by place
	decided  int64 // the transaction that began at this number is skipped or not
	skips    bool  // it is skipped
}

var (
	errOther  = errors.New("the log is another one: its server or the filter has changed")
	errCount  = errors.New("the log counts other rows than before")
	errDone   = errors.New("the table needs no reader of its own any more")
	errYields = errors.New("the table has no room, and others wait")
)

// flushBytes is how much of the log a table gets at once from a large transaction.
const flushBytes = 64 << 10

// run reads until ctx ends, the feed has no more to do, or the log cannot be read. Faults that may heal are retried.
func (f *feed) run(ctx context.Context) error {
	s := f.ses.s
	pauses := newPauses()
	for {
		err, of := f.read(ctx, pauses)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case of != ofLog || !s.log.Temporary(err):
			return err
		}
		s.health.Fails(ctx, f.what, err)
		if err := pause.For(ctx, pauses.NextBackOff()); err != nil {
			return err
		}
	}
}

func newPauses() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
}

// origin is where an error comes from.
type origin uint8

const (
	ofFeed origin = iota
	ofLog
)

// read opens the log behind the last transaction end and reads until an error. What tables have of the open transaction they know
// by its number.
func (f *feed) read(ctx context.Context, pauses *backoff.ExponentialBackOff) (error, origin) { //nolint:revive // the origin is about the error
	s := f.ses.s
	r, err := s.log.Open(ctx, f.last.Place, f.ses.states())
	if err != nil {
		return fmt.Errorf("open the log behind %s: %w", f.last.Place, err), ofLog
	}
	defer r.Close() //nolint:errcheck // it was only read
	// Asked last: a server that has been replaced since Open does not come back.
	identity, err := s.log.Identity(ctx)
	if err != nil {
		return fmt.Errorf("ask for the log's identity: %w", err), ofLog
	}
	if identity != f.ses.identity {
		return fmt.Errorf("%w: it was %q and is %q", errOther, f.ses.identity, identity), ofFeed
	}
	f.reset()
	for heard := false; ; heard = true {
		e, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("read the log behind %s: %w", f.last.Place, err), ofLog
		}
		if !heard {
			s.health.Works(ctx, f.what)
		}
		if e.Kind == End || e.Kind == Idle {
			pauses.Reset()
		}
		if err := f.take(ctx, e); err != nil {
			return err, ofFeed
		}
	}
}

// reset begins behind the last transaction end.
func (f *feed) reset() {
	f.n = f.last.Number + 1
	f.began = f.n
	f.taps, f.byTable, f.touched = make(map[string]*tap), make(map[*binlog.Table]*tap), nil
	f.known, _ = slices.BinarySearchFunc(f.ses.known, f.n, func(m mark, n int64) int { return int(min(1, max(-1, m.Number-n))) })
}

// take takes one event.
func (f *feed) take(ctx context.Context, e *Event) error {
	f.bytes += e.Bytes
	switch e.Kind {
	case Rows:
		if len(e.Rows) == 0 {
			return nil
		}
		first := f.n
		f.n += int64(len(e.Rows))
		tp, err := f.tapOf(ctx, e.Rows[0].Table)
		if err != nil || tp == nil {
			return err
		}
		return f.add(ctx, tp, e, chunk{rows: e.Rows, first: first, time: e.Time.UTC()})
	case Statement:
		return f.statement(ctx, e)
	case End:
		return f.finish(ctx, e)
	case Defined:
		state := e.State
		return f.each(e.Table, func(tp *tap) error {
			tp.told = &state
			f.touch(tp)
			return nil
		})
	case Fault:
		return f.each(e.Table, func(tp *tap) error { return f.fault(ctx, tp, e, f.n, e.Err) })
	case Idle:
		return nil
	}
	return fmt.Errorf("the log has an event of unknown kind %d behind %s", e.Kind, f.last.Place)
}

// tapOf returns the tap for the rows of a table, nil if they are not for this feed.
func (f *feed) tapOf(ctx context.Context, of *binlog.Table) (*tap, error) {
	tp, known := f.byTable[of]
	if known {
		return tp, nil
	}
	tp, err := f.tapNamed(ctx, of.Database+"."+of.Name)
	if err != nil {
		return nil, err
	}
	f.byTable[of] = tp
	return tp, nil
}

// tapNamed returns the tap for a table, nil if it is not for this feed. The shared reader meets a new table so, and returns once
// the store has it.
func (f *feed) tapNamed(ctx context.Context, name string) (*tap, error) {
	if tp := f.taps[name]; tp != nil {
		return tp, nil
	}
	if f.only != nil {
		if name != f.only.name {
			return nil, nil //nolint:nilnil // not for this feed
		}
		return f.tapFor(f.only), nil
	}
	t := f.ses.table(name)
	if t == nil {
		if !f.ses.s.log.Wanted(name) {
			return nil, nil //nolint:nilnil // as above
		}
		var err error
		if t, err = f.ses.register(ctx, name, f.last); t == nil || err != nil {
			return nil, err
		}
	}
	return f.tapFor(t), nil
}

func (f *feed) tapFor(t *table) *tap {
	tp := f.taps[t.name]
	if tp == nil {
		tp = &tap{t: t, decided: -1}
		f.taps[t.name] = tp
	}
	return tp
}

// each calls do for the tap of a table, or of all tables if the name is empty. A table that is not known is left out.
func (f *feed) each(name string, do func(*tap) error) error {
	for _, t := range f.ses.all() {
		if (name == "" || name == t.name) && (f.only == nil || f.only == t) {
			if err := do(f.tapFor(t)); err != nil {
				return err
			}
		}
	}
	return nil
}

// touch records that a tap has something of the open transaction.
func (f *feed) touch(tp *tap) {
	if !tp.touched {
		tp.touched = true
		f.touched = append(f.touched, tp)
	}
}

// add adds a chunk to a tap, unless the table is to skip it.
func (f *feed) add(ctx context.Context, tp *tap, e *Event, c chunk) error {
	if !tp.numbered {
		if skips, err := f.skips(tp, e); skips || err != nil {
			return err
		}
	}
	f.touch(tp)
	tp.chunks = append(tp.chunks, c)
	tp.bytes += e.Bytes
	if tp.bytes < flushBytes {
		return nil
	}
	return f.flush(ctx, tp, nil)
}

// skips reports whether the table has settled the open transaction, which it has to decide by place.
func (f *feed) skips(tp *tap, e *Event) (bool, error) {
	if tp.decided == f.began {
		return tp.skips, nil
	}
	numbered, after, err := tp.t.passes(f.only != nil, f.last)
	switch {
	case err != nil:
		return false, err
	case numbered:
		tp.numbered = true
		return false, nil
	}
	skips := true
	if e.Place != "" {
		if skips, err = f.ses.s.log.Reached(after, e.Place); err != nil {
			return false, fmt.Errorf("compare places of %s: %w", tp.t.id.Stream, err)
		}
	}
	tp.decided, tp.skips = f.began, skips
	return skips, nil
}

// flush pushes what a tap has to its table. end is the end of the transaction, nil if that is still to come.
func (f *feed) flush(ctx context.Context, tp *tap, end *mark) error {
	own := f.only != nil
	for {
		var told *string
		if end != nil {
			told = tp.told
		}
		switch tp.t.push(own, tp.chunks, f.last, end, told) {
		case refused:
			if err := f.await(ctx, tp); err != nil {
				return err
			}
			continue
		case taken:
		case gone, caughtUp:
			if own {
				return errDone
			}
		}
		clear(tp.chunks) // the queue has them: nothing else must keep their rows
		tp.chunks, tp.bytes = tp.chunks[:0], 0
		return nil
	}
}

// finish ends a transaction.
func (f *feed) finish(ctx context.Context, e *Event) error {
	f.end = mark{Number: f.n, Place: e.Place}
	f.n++
	f.began = f.n
	if err := f.check(); err != nil {
		return err
	}
	end := &f.end
	if e.Place == "" {
		end = nil // the log cannot name it: a restart begins before it
	}
	if end != nil && f.only != nil && (f.bytes >= f.ses.s.cfg.IdleBytes/idleParts || f.only.isComplete(end.Number)) {
		f.touch(f.tapFor(f.only)) // so that it moves, or is handed back, without rows
		f.bytes = 0
	}
	for _, tp := range f.touched {
		if err := f.flush(ctx, tp, end); err != nil {
			return err
		}
		tp.touched, tp.told = false, nil
	}
	f.touched = f.touched[:0]
	if end == nil {
		return nil
	}
	f.last = f.end
	if f.only == nil {
		f.bytes = f.ses.reached(f.last, f.bytes)
	}
	return nil
}

// check compares the number of the transaction end with those that are stored with places: numbers that no longer hold would lose
// rows.
func (f *feed) check() error {
	for f.known < len(f.ses.known) && f.ses.known[f.known].Number <= f.end.Number {
		k := f.ses.known[f.known]
		f.known++
		if k.Number == f.end.Number && f.end.Place != "" {
			same, err := f.same(k.Place, f.end.Place)
			if same || err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: the transaction end with number %d was %s, and now %d is %s", errCount, k.Number, k.Place, f.end.Number, f.end.Place)
	}
	return nil
}

func (f *feed) same(a, b Place) (bool, error) {
	if a == b {
		return true, nil
	}
	there, err := f.ses.s.log.Reached(a, b)
	if !there || err != nil {
		return false, err
	}
	return f.ses.s.log.Reached(b, a)
}

// statement takes a statement: a message of every table that it concerns.
func (f *feed) statement(ctx context.Context, e *Event) error {
	number := f.n
	f.n++
	one := func(tp *tap) error { return f.add(ctx, tp, e, chunk{ddl: e.DDL, first: number, time: e.Time.UTC()}) }
	if e.DDL.Tables == nil {
		if f.ses.s.cfg.HandOutUnreadable {
			return f.each("", one)
		}
		err := fmt.Errorf("%w: %.300q (transaction %s)", errUnreadable, e.DDL.Query, e.DDL.Transaction)
		return f.each("", func(tp *tap) error { return f.fault(ctx, tp, e, number, err) })
	}
	for _, name := range e.DDL.Tables {
		if database, all := strings.CutSuffix(name, ".*"); all {
			for _, t := range f.ses.all() {
				if !strings.HasPrefix(t.name, database+".") || f.only != nil && f.only != t {
					continue
				}
				if err := one(f.tapFor(t)); err != nil {
					return err
				}
			}
			continue
		}
		tp, err := f.tapNamed(ctx, name)
		if err != nil {
			return err
		}
		if tp == nil {
			continue
		}
		if err := one(tp); err != nil {
			return err
		}
	}
	return nil
}

var errUnreadable = errors.New("the statement cannot be read, so it may concern this table")

// fault stops a table at a number, behind what it has of the log.
func (f *feed) fault(ctx context.Context, tp *tap, e *Event, number int64, err error) error {
	if !tp.numbered {
		if skips, err := f.skips(tp, e); skips || err != nil {
			return err
		}
	}
	if err := f.flush(ctx, tp, nil); err != nil {
		return err
	}
	tp.t.stop(f.only != nil, number, fmt.Errorf("behind %s: %w", f.last.Place, err))
	return nil
}
