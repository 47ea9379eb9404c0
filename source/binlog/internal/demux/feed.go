package demux

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	credit time.Duration // how long the shared reader still waits for room of tables
	spent  time.Time     // when it last waited
}

var (
	errOther  = errors.New("the log is another one: its server or the filter has changed")
	errCount  = errors.New("the log counts other rows than before")
	errDone   = errors.New("the table needs no reader of its own any more")
	errYields = errors.New("the table has no room, and others wait")
)

// run reads until ctx ends, the feed has no more to do, or the log cannot be read. Faults that may heal are retried.
func (f *feed) run(ctx context.Context) error {
	s := f.ses.s
	pauses := newPauses()
	for {
		err := f.read(ctx, pauses)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, ofLog := errors.AsType[*logError](err); !ofLog || !s.log.Temporary(err) {
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

// logError is an error of the log: it may be temporary.
type logError struct{ error }

func (e *logError) Unwrap() error { return e.error }

// read opens the log behind the last transaction end and reads until an error. Tables drop what they already have of the open
// transaction.
func (f *feed) read(ctx context.Context, pauses *backoff.ExponentialBackOff) error {
	s := f.ses.s
	r, err := s.log.Open(ctx, f.last.Place, f.ses.tells())
	if err != nil {
		return &logError{fmt.Errorf("open the log behind %s: %w", f.last.Place, err)}
	}
	defer r.Close() //nolint:errcheck // it was only read
	// Asked last: a server that has been replaced since Open does not come back.
	identity, err := s.log.Identity(ctx)
	if err != nil {
		return &logError{fmt.Errorf("ask for the log's identity: %w", err)}
	}
	if identity != f.ses.identity {
		return fmt.Errorf("%w: it was %q and is %q", errOther, f.ses.identity, identity)
	}
	f.reset()
	for heard := false; ; heard = true {
		e, err := r.Next(ctx)
		if err != nil {
			return &logError{fmt.Errorf("read the log behind %s: %w", f.last.Place, err)}
		}
		if !heard {
			s.health.Works(ctx, f.what)
		}
		if e.Kind == End || e.Kind == Idle {
			pauses.Reset()
		}
		if err := f.take(ctx, e); err != nil {
			return err
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
		return f.each(ctx, e.Table, func(tp *tap) error {
			tp.told = &state
			f.touch(tp)
			return nil
		})
	case Fault:
		number := f.n
		f.n += int64(e.Count)
		return f.each(ctx, e.Table, func(tp *tap) error { return f.fault(ctx, tp, e, number, e.Err, e.Table == "") })
	case Idle:
		return nil
	}
	return fmt.Errorf("the log has an event of unknown kind %d behind %s", e.Kind, f.last.Place)
}

// finish ends a transaction.
func (f *feed) finish(ctx context.Context, e *Event) error {
	f.end = mark{Number: f.n, Place: e.Place}
	f.n++
	f.began = f.n
	if err := f.check(); err != nil {
		return err
	}
	if f.only != nil && (f.bytes >= f.ses.s.cfg.IdleBytes/idleParts || f.only.isComplete(f.end.Number)) {
		f.touch(f.tapFor(f.only)) // so that it moves, or is handed back, without rows
		f.bytes = 0
	}
	if f.only == nil {
		f.ses.met.Store(f.end.Number)
	}
	for _, tp := range f.touched {
		if err := f.flush(ctx, tp, &f.end); err != nil {
			return err
		}
	}
	if e.Place == "" {
		return nil // a restart begins before it, and what was touched gets the next end
	}
	for _, tp := range f.touched {
		tp.touched, tp.told = false, nil
	}
	f.touched = f.touched[:0]
	f.last = f.end
	if f.only == nil {
		f.bytes = f.ses.reached(f.last, f.bytes)
	}
	return nil
}

// check compares the number of the transaction end with those that are stored with places: numbers that no longer hold would lose
// rows.
func (f *feed) check() error {
	for ; f.known < len(f.ses.known) && f.ses.known[f.known].Number <= f.end.Number; f.known++ {
		k := f.ses.known[f.known]
		same := k.Number == f.end.Number && f.end.Place != ""
		if same && k.Place != f.end.Place {
			var err error
			if same, err = f.same(k.Place, f.end.Place); err != nil {
				return err
			}
		}
		if !same {
			return fmt.Errorf("%w: the transaction end with number %d was %s, and now %d is %s",
				errCount, k.Number, k.Place, f.end.Number, f.end.Place)
		}
	}
	return nil
}

// same reports whether two texts are of one place.
func (f *feed) same(a, b Place) (bool, error) {
	there, err := f.ses.s.log.Reached(a, b)
	if !there || err != nil {
		return false, err
	}
	return f.ses.s.log.Reached(b, a)
}
