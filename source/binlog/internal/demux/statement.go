package demux

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

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
