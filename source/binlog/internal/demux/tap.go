package demux

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/source/binlog"
)

// tap is what a feed has for one table.
type tap struct {
	t        *table
	chunks   []chunk // of the open transaction, not pushed yet
	bytes    int     // of log, of these chunks
	within   Place   // the open transaction, if it has a name and stands right behind feed.last
	told     *string // state from the open transaction
	touched  bool
	numbered bool  // the table is not skipped by place
	decided  int64 // the transaction that began at this number is skipped or not
	skips    bool  // it is skipped
}

// flushBytes is how much of the log a table gets at once from a large transaction.
const flushBytes = 64 << 10

// tapOf returns the tap for the rows of a table, nil if they are not for this feed.
func (f *feed) tapOf(ctx context.Context, of *binlog.Table) (*tap, error) {
	tp, known := f.byTable[of]
	if known {
		return tp, nil
	}
	tp, err := f.tapNamed(ctx, of.String())
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

// each calls do for the tap of a table, or of all tables if the name is empty.
func (f *feed) each(ctx context.Context, name string, do func(*tap) error) error {
	if name != "" {
		tp, err := f.tapNamed(ctx, name)
		if tp == nil || err != nil {
			return err
		}
		return do(tp)
	}
	for _, t := range f.ses.all() {
		if f.only != nil && f.only != t {
			continue
		}
		if err := do(f.tapFor(t)); err != nil {
			return err
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

// add adds a chunk to a tap, without what the table has settled of it.
func (f *feed) add(ctx context.Context, tp *tap, e *Event, c chunk) error {
	if !tp.numbered {
		if skips, err := f.skips(tp, e); skips || err != nil {
			return err
		}
	}
	f.touch(tp)
	if p := &tp.t.part; p.Settled > 0 && p.Transaction == e.Place && c.cut(f.began+p.Settled) {
		return nil
	}
	tp.within = ""
	if f.last.Number+1 == f.began { // nothing is between
		tp.within = e.Place
	}
	tp.chunks = append(tp.chunks, c)
	tp.bytes += max(e.Bytes, 100*len(c.rows)) // a log may not tell bytes
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
	own, before := f.only != nil, f.last
	before.within = tp.within
	for {
		var told *string
		if end != nil {
			told = tp.told
		}
		switch tp.t.push(own, tp.chunks, before, end, told) {
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
