package demux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// session reads one log with one numbering, for all tables.
type session struct {
	s         *Source
	identity  string
	logName   string // as commit.Progress.Log has it
	catalogue *catalogue
	start     mark
	known     []mark        // transaction ends that were stored with their numbers, ascending
	moved     chan struct{} // room for one: much of the log was read

	wg sync.WaitGroup // of the readers of single tables and the goroutine that moves idle ones

	mu      sync.Mutex
	tables  map[string]*table
	order   []*table // as they came; only appended to
	last    mark     // of the shared reader
	owed    int      // groups of idle tables to move because of what was read
	waiting []*table // behind, in the order of their turns
	apart   int      // readers of single tables
	launch  func(func(context.Context))
	end     context.CancelCauseFunc // nil: the session has not begun, or has ended
}

// idleParts is in how many groups idle tables are moved, one after the other, so that their commits are spread.
const idleParts = 10

// run reads until ctx ends, the log cannot be read, or its numbers do not hold. When it returns, its goroutines have ended.
func (ses *session) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer ses.wg.Wait()
	defer end(nil)
	ses.mu.Lock()
	ses.end = end
	ses.launch = func(f func(context.Context)) { ses.wg.Go(func() { f(ctx) }) }
	ses.launch(ses.moveIdle)
	ses.mu.Unlock()
	defer func() {
		ses.mu.Lock()
		ses.end = nil
		ses.mu.Unlock()
	}()
	ses.schedule()
	f := &feed{ses: ses, what: "read", last: ses.start}
	return f.run(ctx)
}

// table returns a table by name, nil if it is not known.
func (ses *session) table(name string) *table {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return ses.tables[name]
}

// all returns all tables.
func (ses *session) all() []*table {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return ses.order
}

// states returns what the log has told of the tables.
func (ses *session) states() map[string]string {
	states := make(map[string]string)
	for _, t := range ses.all() {
		t.mu.Lock()
		if t.state != "" {
			states[t.name] = t.state
		}
		t.mu.Unlock()
	}
	return states
}

// reached records a transaction end of the shared reader. All tables have the rows up to it that they get from that reader. It takes
// the bytes of log since idle tables were moved, and returns those that are left.
func (ses *session) reached(m mark, bytes int) int {
	part := max(ses.s.cfg.IdleBytes/idleParts, 1)
	ses.mu.Lock()
	ses.last = m
	ses.owed = min(ses.owed+bytes/part, idleParts)
	ses.mu.Unlock()
	if bytes >= part {
		poke(ses.moved)
	}
	return bytes % part
}

// moveIdle moves the tables to the shared reader's position, also those without rows: one group at a time.
func (ses *session) moveIdle(ctx context.Context) {
	tick := time.NewTicker(max(ses.s.cfg.IdleInterval/idleParts, 1))
	defer tick.Stop()
	for group := 0; ; {
		owed := 1
		select {
		case <-tick.C:
		case <-ses.moved:
			ses.mu.Lock()
			owed, ses.owed = ses.owed, 0
			ses.mu.Unlock()
		case <-ctx.Done():
			return
		}
		for ; owed > 0; owed-- {
			if err := ses.moveGroup(group); err != nil {
				ses.stop(err)
				return
			}
			group = (group + 1) % idleParts
		}
	}
}

// moveGroup moves the tables of one group.
func (ses *session) moveGroup(group int) error {
	ses.mu.Lock()
	last, order := ses.last, ses.order
	ses.mu.Unlock()
	for i := group; i < len(order); i += idleParts {
		t := order[i]
		passed, _, err := t.passes(false, last)
		if err != nil {
			return err
		}
		if passed {
			t.push(false, nil, last, &last, nil)
		}
	}
	return nil
}

// stop ends the session.
func (ses *session) stop(err error) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if ses.end != nil {
		ses.end(err)
	}
}

// leaveBehind makes a table behind that has no room for what the shared reader has for it.
func (ses *session) leaveBehind(ctx context.Context, tp *tap, last mark) {
	if !tp.t.fallBehind(tp.chunks, last) {
		return
	}
	ses.s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, ses.s.cfg.Package+": table falls behind; it is read apart once it has room", //nolint:sloglint // the name of the package
		slog.String("table", tp.t.id.Stream), slog.String("place", string(last.Place)))
	ses.wait(tp.t)
}

// wait puts a table that is behind at the end of the queue.
func (ses *session) wait(t *table) {
	ses.mu.Lock()
	ses.waiting = append(ses.waiting, t)
	ses.mu.Unlock()
	ses.schedule()
}

// othersWait reports whether a table with room waits for its turn.
func (ses *session) othersWait() bool {
	ses.mu.Lock()
	waiting := slices.Clone(ses.waiting)
	ses.mu.Unlock()
	return slices.ContainsFunc(waiting, (*table).drained)
}

// schedule starts readers for tables that are behind and have room, as many as Config.CatchUp allows.
func (ses *session) schedule() {
	ses.mu.Lock()
	waiting, free := slices.Clone(ses.waiting), ses.s.cfg.CatchUp-ses.apart
	ses.mu.Unlock()
	if free <= 0 || len(waiting) == 0 {
		return
	}
	ready := slices.DeleteFunc(waiting, func(t *table) bool { return !t.drained() })
	ses.mu.Lock()
	defer ses.mu.Unlock()
	for _, t := range ready {
		i := slices.Index(ses.waiting, t)
		if i < 0 || ses.end == nil || ses.apart >= ses.s.cfg.CatchUp {
			continue
		}
		ses.waiting = slices.Delete(ses.waiting, i, i+1)
		ses.apart++
		ses.launch(func(ctx context.Context) { ses.readApart(ctx, t) })
	}
}

// readApart reads the log for one table until the shared reader has its rows again.
func (ses *session) readApart(ctx context.Context, t *table) {
	defer ses.schedule()
	defer func() {
		ses.mu.Lock()
		ses.apart--
		ses.mu.Unlock()
	}()
	from, needs := t.begins()
	if !needs {
		return
	}
	s := ses.s
	f := &feed{ses: ses, only: t, what: "read " + t.id.Stream, last: from}
	err := f.run(ctx)
	s.health.Forget(f.what)
	switch {
	case errors.Is(err, errDone):
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, s.cfg.Package+": table has caught up", //nolint:sloglint // the name of the package
			slog.String("table", t.id.Stream), slog.String("place", string(f.end.Place)))
	case errors.Is(err, errYields):
		t.yield(f.last)
		ses.wait(t)
	case ctx.Err() != nil:
	case errors.Is(err, errOther), errors.Is(err, errCount):
		ses.stop(err)
	default:
		t.stop(true, math.MaxInt64, err)
	}
}

// register accepts a table that the shared reader meets for the first time, behind a transaction end. It returns once the store
// has it, since no other table may be committed past rows that a restart would not find. A nil table belongs to another process.
func (ses *session) register(ctx context.Context, name string, last mark) (*table, error) {
	s := ses.s
	if s.isLost(name) {
		return nil, nil //nolint:nilnil // as documented
	}
	var t *table
	err := s.retry(ctx, "register "+s.prefix+name, finalOfStore, func(ctx context.Context) error {
		p, err := s.cfg.Store.Claim(ctx, s.prefix+name, 0, 0)
		if err != nil {
			return fmt.Errorf("claim %s%s: %w", s.prefix, name, err)
		}
		begin := last
		switch {
		case p.At == "":
			begin.State = ""
			p = &commit.Progress{Log: ses.logName, Epoch: p.Epoch, Frontier: last.Number + 1, At: begin.text()}
			if err := s.cfg.Store.Save(ctx, s.prefix+name, 0, p); err != nil {
				return fmt.Errorf("save the begin of %s%s: %w", s.prefix, name, err)
			}
		case p.Log == ses.logName: // registered before a crash
			if begin, err = readMark(p.At); err != nil {
				return fmt.Errorf("%s%s: %w: %w", s.prefix, name, commit.ErrCorrupt, err)
			}
		}
		if err := ses.catalogue.save(ctx, ses.catalogue.now().with(name)); err != nil {
			return err
		}
		if p.Log != ses.logName || begin.Unnumbered || begin.Number < last.Number {
			return fmt.Errorf("%w: the store has progress of %s%s in another count", errCount, s.prefix, name)
		}
		t = newTable(ses, name, p, begin)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ses.add(t)
	s.offer(t)
	return t, nil
}

// add adds tables.
func (ses *session) add(ts ...*table) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	for _, t := range ts {
		ses.tables[t.name] = t
	}
	ses.order = append(ses.order, ts...)
}
