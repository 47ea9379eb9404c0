package demux

import (
	"context"
	"sync"
	"sync/atomic"
)

// session reads one log with one numbering, for all tables.
type session struct {
	s         *Source
	identity  string
	filter    string
	logName   string // as commit.Progress.Log has it
	catalogue *catalogue
	start     mark
	known     []mark        // transaction ends that were stored with their numbers, ascending
	moved     chan struct{} // room for one: much of the log was read
	met       atomic.Int64  // number of the transaction end up to which the shared reader has met every table

	meets atomic.Int64 // len(meeting), also read by commits

	wg sync.WaitGroup // of the readers of single tables and the goroutine that moves idle ones

	mu      sync.Mutex
	tables  map[string]*table
	order   []*table        // as they came; only appended to
	last    mark            // of the shared reader
	owed    int             // groups of idle tables to move because of what was read
	fresh   []*table        // new, and not in the store yet, in the order of the log
	waiting []*table        // behind, in the order of their turns
	apart   int             // readers of single tables
	meeting map[*table]bool // wait for others at a statement
	launch  func(func(context.Context))
	end     context.CancelCauseFunc // nil: the session has not begun, or has ended
}

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
	f := &feed{ses: ses, what: "read", last: ses.start, credit: ses.s.cfg.patience}
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

// tells returns what is known of the tables, for the log.
func (ses *session) tells() map[string]Known {
	all := make(map[string]Known)
	for _, t := range ses.all() {
		t.mu.Lock()
		k := Known{State: t.state, Settled: t.after, Within: t.part.Transaction}
		t.mu.Unlock()
		if k != (Known{}) {
			all[t.name] = k
		}
	}
	return all
}

// registered returns the number up to which all tables of the log are in the store. A restart must not begin behind it: it would
// not find the rows of the others.
func (ses *session) registered() int64 {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if len(ses.fresh) > 0 {
		return ses.fresh[0].begun
	}
	return ses.met.Load()
}

// stop ends the session.
func (ses *session) stop(err error) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if ses.end != nil {
		ses.end(err)
	}
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
