package demux

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// statement takes a statement: a message of every table that it concerns.
func (f *feed) statement(ctx context.Context, e *Event) error {
	number := f.n
	f.n++
	meets := f.wanted(e.DDL.Tables)
	one := func(tp *tap) error {
		ddl := e.DDL
		if len(meets) > 0 && tp.t.name == meets[0] {
			own := *ddl
			own.Apply, ddl = true, &own
		}
		return f.add(ctx, tp, e, chunk{ddl: ddl, meets: meets, first: number, time: e.Time.UTC()})
	}
	if e.DDL.Tables == nil {
		if f.ses.s.cfg.HandOutUnreadable {
			return f.each(ctx, "", one)
		}
		text := quoted.ReplaceAllString(e.DDL.Query, "'…'")
		err := fmt.Errorf("%w: set Config.HandOutUnreadable to hand it to every table, and start again: %.300q (transaction %s)",
			errUnreadable, text, e.DDL.Transaction)
		return f.each(ctx, "", func(tp *tap) error { return f.fault(ctx, tp, e, number, err, true) })
	}
	taps, err := f.named(ctx, e.DDL.Tables)
	if err != nil {
		return err
	}
	for _, tp := range taps {
		if err := one(tp); err != nil {
			return err
		}
	}
	return nil
}

// wanted returns the wanted tables of a statement, each once, and first the one at which to run it. They depend on the statement
// and the filter alone, so they are the same after a restart. It returns none if a name stands for many tables.
func (f *feed) wanted(names []string) []string {
	var all []string
	for _, name := range names {
		if strings.HasSuffix(name, ".*") {
			return nil
		}
		if f.ses.s.log.Wanted(name) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// named returns the taps of the tables that a statement names, each once.
func (f *feed) named(ctx context.Context, names []string) (taps []*tap, err error) {
	for _, name := range names {
		if database, all := strings.CutSuffix(name, ".*"); all {
			err = f.each(ctx, "", func(tp *tap) error {
				if strings.HasPrefix(tp.t.name, database+".") {
					taps = append(taps, tp)
				}
				return nil
			})
		} else if tp, failed := f.tapNamed(ctx, name); tp != nil || failed != nil {
			taps, err = append(taps, tp), failed
		}
		if err != nil {
			return nil, err
		}
	}
	seen := make(map[*tap]bool)
	return slices.DeleteFunc(taps, func(tp *tap) bool {
		before := seen[tp]
		seen[tp] = true
		return before
	}), nil
}

// quoted matches what may be a secret, such as a password.
var quoted = regexp.MustCompile(`(?s)'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?`)

var errUnreadable = errors.New("the statement cannot be read, so it may concern this table")
