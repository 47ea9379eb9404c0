// Virtual time: each check runs in a bubble of its own.

package demux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// TestSourceMatchesDumbModel plays random transactions, stalls, cuts, crashes and changes of the server. It compares what each
// table gets with a list of its rows.
func TestSourceMatchesDumbModel(t *testing.T) {
	sum := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newModel(t)
			m.play()
			m.tally["refused saves"] = int(m.refused.Load())
			for what, n := range m.tally {
				sum[what] += n
			}
		})
	})
	t.Log(sum)
	for _, what := range []string{
		"rows", "statements", "cuts", "crashes", "stops", "servers", "behind", "replayed", "refused saves", "registered", "met", "parts",
	} {
		if sum[what] == 0 {
			t.Errorf("%s: none: the model does not play it", what)
		}
	}
}

// model is the dumb model: a list of rows and statements for each table.
type model struct {
	t     *rapid.T
	log   *fakeLog
	store *memStore
	cfg   Config
	names []string // of tables; the last is not listed by the log
	texts int
	index int64              // of the next item of the transaction that is written
	known bool               // the last table is known, even without rows
	items map[string][]*item // by table, in the order of the log
	tally map[string]int

	goesOn string // the name of the log as of the last start, unless the numbers may begin anew

	src  *Source
	stop context.CancelFunc // of Accept
	done chan struct{}

	refused atomic.Int64 // calls of the store

	mu    sync.Mutex // guards what Accept writes
	held  map[string]*holding
	ended error // of Accept
}

// item is a row or a statement of a table.
type item struct {
	text        string
	domain, seq int
	index       int64 // in the transaction
	ddl         bool
	settled     bool             // durably: a stored frontier is above it
	log         string           // of that frontier
	placed      bool             // a stored place is behind its transaction
	offsets     map[string]int64 // by log
}

// holding is one ownership of a table, as a pipeline has it.
type holding struct {
	part    source.Partition
	begin   mark
	tracker *commit.Tracker
	pending map[int64]bool  // numbers of the tracker
	got     map[int64]*item // by offset
	last    map[int]*item   // the last item that came, by domain
	stored  int64           // frontier
	barrier int64           // nothing may come before the stored frontier is there
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, store: newMemStore(), items: make(map[string][]*item), tally: make(map[string]int),
		names: []string{"shop.a", "shop.b", "shop.c", "shop.d"}[:rapid.IntRange(2, 4).Draw(t, "tables")],
	}
	m.log = newFakeLog(rapid.IntRange(1, 2).Draw(t, "domains"), m.names[:len(m.names)-1]...)
	m.cfg = Config{
		Package: "demux", Store: m.store, HandOutUnreadable: true,
		TableBytes: rapid.SampledFrom([]int{1, 1000, 10_000, 1 << 20}).Draw(t, "table bytes"),
		QueueBytes: rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(t, "queue bytes"),
		CatchUp:    rapid.IntRange(1, 2).Draw(t, "catch up"),
		patience:   rapid.SampledFrom([]time.Duration{1, time.Second}).Draw(t, "patience"),
		far:        rapid.SampledFrom([]int64{1, 10, 1000}).Draw(t, "far"),
	}
	return m
}

func (m *model) play() {
	defer func() { // of a failed check: a bubble must not be left with goroutines
		m.stop()
		m.src.cancel()
		m.src.running.Wait()
	}()
	m.start()
	for range rapid.IntRange(1, 60).Draw(m.t, "steps") {
		switch rapid.SampledFrom([]string{
			"write", "write", "write", "read", "read", "read", "read", "read all", "wait", "cut", "store", "crash", "stop", "replace",
		}).Draw(m.t, "step") {
		case "write":
			m.write()
		case "read":
			m.read(rapid.SampledFrom(m.names).Draw(m.t, "table"), false)
		case "read all":
			for _, name := range m.names {
				m.read(name, true)
			}
		case "wait":
			time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 1500, 20_000}).Draw(m.t, "ms")) * time.Millisecond)
		case "cut":
			m.cut(rapid.IntRange(1, 4).Draw(m.t, "cuts"), rapid.IntRange(0, 6).Draw(m.t, "events between"))
		case "store":
			m.refuse(rapid.IntRange(1, 3).Draw(m.t, "refused"))
		case "crash":
			m.tally["crashes"]++
			for _, name := range m.names { // some of them settle nothing of what they have
				if h := m.holds(name); h != nil && rapid.Bool().Draw(m.t, "fetch") {
					m.fetch(name, h, false)
				}
			}
			m.crash()
			m.start()
		case "stop":
			m.tally["stops"]++
			m.leave()
			m.start()
		case "replace":
			m.replace()
		}
		m.check()
	}
	m.finish()
}

func (m *model) start() {
	m.goesOn = ""
	if cat, err := readCatalogue(m.store.at(catalogueStream).At); err == nil && cat.Identity == m.log.identity {
		m.goesOn = cat.logName()
		for _, name := range cat.Tables {
			p := m.store.at(name)
			if mk, err := readMark(p.At); err == nil && (mk.Unnumbered || p.Log != m.goesOn) {
				m.goesOn = ""
			}
		}
	}
	src, err := New(m.log, m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.src, m.stop, m.done, m.held, m.ended = src, stop, make(chan struct{}), make(map[string]*holding), nil
	go func() {
		defer close(m.done)
		for {
			p, err := src.Accept(ctx)
			m.mu.Lock()
			if err != nil {
				m.ended = err
				m.mu.Unlock()
				return
			}
			name := p.ID().Stream
			if m.held[name] != nil {
				m.ended = fmt.Errorf("%v accepted before the release of %v", p.ID(), m.held[name].part.ID())
				m.mu.Unlock()
				return
			}
			t, is := p.(*table)
			if !is {
				panic("not a table")
			}
			r := p.Restored()
			t.mu.Lock()
			begin := t.marks[0]
			t.mu.Unlock()
			m.held[name] = &holding{
				part: p, begin: begin, tracker: commit.NewTracker(r), pending: make(map[int64]bool), got: make(map[int64]*item),
				last: make(map[int]*item), stored: r.Frontier,
			}
			m.mu.Unlock()
		}
	}()
	synctest.Wait()
}

// write appends a transaction.
func (m *model) write() {
	domain := rapid.IntRange(0, len(m.log.counts)-1).Draw(m.t, "domain")
	seq := m.log.counts[domain] + 1
	var events []Event
	m.index = 0
events:
	for range rapid.IntRange(0, 5).Draw(m.t, "events") {
		name := rapid.SampledFrom(m.names).Draw(m.t, "table")
		switch kind := rapid.IntRange(0, 15).Draw(m.t, "kind"); kind {
		case 0, 1:
			of := []string{name}
			if other := rapid.SampledFrom(m.names).Draw(m.t, "other"); other != name {
				of = append(of, other)
			}
			events = append(events, m.statement(domain, seq, of, of))
		case 2: // all tables, once they are known: a restart may hand a statement to a table that was new at its place
			if !m.known || len(events) > 0 || len(m.log.counts) > 1 {
				continue
			}
			of := rapid.SampledFrom([][]string{nil, {"shop.*"}}).Draw(m.t, "of")
			events = append(events, m.statement(domain, seq, of, m.names))
			break events
		case 3:
			events = append(events, Event{Kind: Defined, Table: name, State: fmt.Sprint("state", m.texts)})
		default:
			var texts []string
			for range rapid.IntRange(1, 5).Draw(m.t, "rows") {
				m.texts++
				text := fmt.Sprintf("%d %s", m.texts, strings.Repeat("x", 100))
				texts = append(texts, text)
				m.add(name, &item{text: text, domain: domain, seq: seq, index: m.index})
				m.index++
				m.tally["rows"]++
			}
			e := rows(name, texts...)
			if kind == 4 {
				e.Bytes = flushBytes
			}
			events = append(events, e)
		}
	}
	noPlace := rapid.IntRange(0, 9).Draw(m.t, "without a place") == 9
	m.log.append(fakeTxn{domain: domain, events: events, noPlace: noPlace})
	m.known = m.known || len(m.items[m.names[len(m.names)-1]]) > 0
	if rapid.Bool().Draw(m.t, "let it be read") {
		synctest.Wait()
	}
}

func (m *model) statement(domain, seq int, tables, known []string) Event {
	m.texts++
	text := fmt.Sprint("alter ", m.texts)
	for _, name := range known {
		m.add(name, &item{text: text, domain: domain, seq: seq, index: m.index, ddl: true})
		m.tally["statements"]++
	}
	m.index++
	return ddl(text, tables...)
}

func (m *model) add(name string, it *item) {
	it.offsets = make(map[string]int64)
	m.items[name] = append(m.items[name], it)
}

// read fetches from a table, settles something, and commits.
func (m *model) read(name string, all bool) {
	h := m.holds(name)
	if h == nil {
		return
	}
	var left bool
	select {
	case <-h.part.Leaving():
		left = true
	default:
	}
	if !left {
		left = m.fetch(name, h, all)
	}
	for _, number := range slices.Sorted(maps.Keys(h.pending)) {
		if all || rapid.IntRange(0, 3).Draw(m.t, "settle") > 0 {
			if err := h.tracker.Settle([]int64{number}); err != nil {
				m.t.Fatal(err)
			}
			delete(h.pending, number)
		}
	}
	if left || all || rapid.Bool().Draw(m.t, "commit") {
		m.commit(name, h)
	}
	if left {
		m.release(name, h)
	}
}

// holds returns the ownership of a table, nil if there is none.
func (m *model) holds(name string) *holding {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[name]
}

// fetch fetches once, and reports whether the table is leaving.
func (m *model) fetch(name string, h *holding, all bool) bool {
	most := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	if !all {
		most.MaxMessages = rapid.IntRange(1, 10).Draw(m.t, "messages")
		most.MaxBytes = rapid.SampledFrom([]int{1, 1000, 1 << 20}).Draw(m.t, "bytes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	position := h.tracker.State().Position
	err := h.part.Fetch(ctx, &most)
	switch {
	case errors.Is(err, source.ErrLeaving):
		return true
	case errors.Is(err, context.DeadlineExceeded):
		return false
	case err != nil:
		m.t.Fatalf("fetch %v: %v", h.part.ID(), err)
	}
	if len(most.Messages) == 0 && most.Next <= position {
		m.t.Fatalf("%v: fetch moved nothing", h.part.ID())
	}
	var offsets []int64
	for i := range most.Messages {
		msg := &most.Messages[i]
		m.came(name, h, msg, len(most.Messages))
		offsets = append(offsets, msg.Offset)
	}
	first, settled, err := h.tracker.Track(offsets, most.Next)
	if err != nil {
		m.t.Fatalf("%v: %v", h.part.ID(), err)
	}
	for i := range offsets {
		if settled == nil || !settled[i] {
			h.pending[first+int64(i)] = true
		}
	}
	return false
}

func (m *model) commit(name string, h *holding) {
	p := h.tracker.Progress()
	stored, err := h.part.Commit(context.Background(), p)
	switch {
	case errors.Is(err, errRefused):
		return
	case err != nil:
		m.t.Fatalf("commit of %v: %v", h.part.ID(), err)
	case stored.Frontier != p.Frontier:
		m.t.Fatalf("commit of %v stored %+v, want %d", h.part.ID(), stored, p.Frontier)
	}
	h.stored = p.Frontier
	for offset, it := range h.got {
		if offset < p.Frontier {
			it.settled, it.log = true, p.Log
		}
	}
	m.checkStored(name, p.Frontier)
}

func (m *model) release(name string, h *holding) {
	m.mu.Lock()
	delete(m.held, name)
	m.mu.Unlock()
	if err := h.part.Release(context.Background()); err != nil {
		m.t.Fatalf("release: %v", err)
	}
	synctest.Wait()
}
