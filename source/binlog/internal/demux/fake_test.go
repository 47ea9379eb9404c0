package demux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/source/binlog"
)

// fakeLog is the log of a server in memory. Transactions belong to a domain, and are numbered there from 1. A place is the number
// of the last transaction of each domain, as "3.0". Another server may have those of different domains in another order.
type fakeLog struct {
	mu       sync.Mutex
	identity string
	filter   string
	txns     []fakeTxn
	counts   []int // of transactions, by domain
	offset   int64 // number of the next row, statement or transaction end, from 1
	purged   []int // places below it are gone
	tables   []string
	named    bool // transactions have names
	broken   func() error
	changed  chan struct{}
	open     atomic.Int64       // readers
	states   []map[string]Known // given to Open
	opens    []Place
	starts   int // index of the transaction that a new copy begins with
	wants    func(string) bool
}

type fakeTxn struct {
	domain, seq int
	events      []Event
	noPlace     bool
}

var errCut = errors.New("connection reset")

func newFakeLog(domains int, tables ...string) *fakeLog {
	return &fakeLog{
		identity: "server-1", counts: make([]int, domains), purged: make([]int, domains), offset: 1, tables: tables, named: domains > 1,
		changed: make(chan struct{}), wants: func(t string) bool { return strings.HasPrefix(t, "shop.") },
	}
}

// rows makes an event with rows of a table, whose only column is text.
func rows(table string, texts ...string) Event {
	database, name, _ := strings.Cut(table, ".")
	of := &binlog.Table{Database: database, Name: name}
	e := Event{Kind: Rows, Time: time.Unix(1_700_000_000, 0), Bytes: 20}
	for _, text := range texts {
		e.Rows = append(e.Rows, binlog.Row{Table: of, Kind: binlog.Insert, After: []any{text}})
		e.Bytes += len(text)
	}
	return e
}

// ddl makes an event with a statement.
func ddl(query string, tables ...string) Event {
	return Event{Kind: Statement, DDL: &binlog.DDL{Query: query, Tables: tables}, Bytes: 100}
}

// commit appends a transaction of domain 0.
func (l *fakeLog) commit(events ...Event) { l.commitIn(0, events...) }

func (l *fakeLog) commitIn(domain int, events ...Event) {
	l.append(fakeTxn{domain: domain, events: events})
}

// append appends a transaction, which gets the next number of its domain.
func (l *fakeLog) append(x fakeTxn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[x.domain]++
	x.seq = l.counts[x.domain]
	l.txns = append(l.txns, x)
	for i := range x.events {
		l.offset += int64(len(x.events[i].Rows))
		if x.events[i].Kind == Statement {
			l.offset++
		}
	}
	l.offset++
	l.wakeLocked()
}

// unname makes the last transaction end one that the log cannot name.
func (l *fakeLog) unname() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.txns[len(l.txns)-1].noPlace = true
}

func (l *fakeLog) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// openedAt returns where the log was opened, and what Open was told last.
func (l *fakeLog) openedAt() ([]Place, map[string]Known) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.opens), l.states[len(l.states)-1]
}

// end returns the number of the next row.
func (l *fakeLog) end() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offset
}

// fail cuts all connections, now and until f returns nil. Nil: no more.
func (l *fakeLog) fail(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = f
	l.wakeLocked()
}

// replace makes the log that of another server.
func (l *fakeLog) replace(identity string, reorder func([]fakeTxn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.identity = identity
	l.txns = slices.Clone(l.txns)
	if reorder != nil {
		reorder(l.txns)
	}
	l.wakeLocked()
}

func (l *fakeLog) Identity(context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.identity, nil
}

func (l *fakeLog) Filter() string { return l.filter }

func (l *fakeLog) Start(context.Context) (Place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := make([]int, len(l.counts))
	for _, x := range l.txns[:l.starts] {
		at[x.domain] = x.seq
	}
	return placeOf(at), nil
}

func (l *fakeLog) Tables(context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tables), nil
}

func (l *fakeLog) Wanted(table string) bool { return l.wants(table) }

func (l *fakeLog) Reached(at, want Place) (bool, error) {
	a, w := countsOf(at), countsOf(want)
	for i := range a {
		if a[i] < w[i] {
			return false, nil
		}
	}
	return true, nil
}

func (l *fakeLog) Lowest(places ...Place) (Place, error) {
	low := countsOf(places[0])
	for _, p := range places[1:] {
		for i, n := range countsOf(p) {
			low[i] = min(low[i], n)
		}
	}
	return placeOf(low), nil
}

func (l *fakeLog) Temporary(err error) bool { return errors.Is(err, errCut) }

func (l *fakeLog) Open(_ context.Context, after Place, tables map[string]Known) (Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opens, l.states = append(l.opens, after), append(l.states, tables)
	if l.broken != nil {
		if err := l.broken(); err != nil {
			return nil, err
		}
	}
	at := countsOf(after)
	for i, n := range at {
		if n < l.purged[i] {
			return nil, fmt.Errorf("%w: want %s, the oldest is %s", ErrGone, after, placeOf(l.purged))
		}
	}
	l.open.Add(1)
	return &fakeReader{log: l, server: l.identity, after: at, at: slices.Clone(at)}, nil
}

type fakeReader struct {
	log    *fakeLog
	server string
	after  []int // transactions up to it are left out
	at     []int // the end of the last transaction
	txn    int   // index of the next transaction
	event  int   // index of its next event
	idle   bool  // told
	e      Event
}

func (r *fakeReader) Next(ctx context.Context) (*Event, error) {
	for {
		r.log.mu.Lock()
		e, changed, err := r.nextLocked()
		r.log.mu.Unlock()
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *fakeReader) nextLocked() (*Event, <-chan struct{}, error) {
	l := r.log
	if l.identity != r.server {
		return nil, nil, fmt.Errorf("%w: the server is another one", errCut)
	}
	if l.broken != nil {
		if err := l.broken(); err != nil {
			return nil, nil, err
		}
	}
	for r.txn < len(l.txns) && l.txns[r.txn].seq <= r.after[l.txns[r.txn].domain] {
		r.txn++
	}
	if r.txn == len(l.txns) {
		if !r.idle {
			r.idle = true
			return &Event{Kind: Idle}, nil, nil
		}
		return nil, l.changed, nil
	}
	r.idle = false
	x := l.txns[r.txn]
	end := slices.Clone(r.at)
	end[x.domain] = x.seq
	if r.event < len(x.events) {
		r.e = x.events[r.event]
		r.e.Rows = slices.Clone(r.e.Rows)
		r.event++
		if l.named {
			alone := make([]int, len(end))
			alone[x.domain] = x.seq
			r.e.Place = placeOf(alone)
		}
		return &r.e, nil, nil
	}
	r.txn, r.event, r.at = r.txn+1, 0, end
	r.e = Event{Kind: End, Place: placeOf(end), Bytes: 30}
	if x.noPlace {
		r.e.Place = ""
	}
	return &r.e, nil, nil
}

func (r *fakeReader) Close() error {
	r.log.open.Add(-1)
	return nil
}

func placeOf(counts []int) Place {
	var parts []string
	for _, n := range counts {
		parts = append(parts, strconv.Itoa(n))
	}
	return Place(strings.Join(parts, "."))
}

func countsOf(p Place) []int {
	var counts []int
	for part := range strings.SplitSeq(string(p), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			panic(fmt.Sprintf("bad place %q", p))
		}
		counts = append(counts, n)
	}
	return counts
}
