// Virtual time: each check runs in a bubble of its own.

package demux

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

// came checks one message.
func (m *model) came(name string, h *holding, msg *keystrand.Message, together int) {
	text := textOf(msg)
	if d, is := msg.Native.(*binlog.DDL); is {
		m.met(name, d)
		if together != 1 {
			m.t.Fatalf("%s: statement %q came with %d other messages", name, text, together-1)
		}
		if h.stored < msg.Offset {
			m.t.Fatalf("%s: statement %q came at %d, with %d stored", name, text, msg.Offset, h.stored)
		}
	}
	if h.stored < h.barrier {
		m.t.Fatalf("%s: %.20q came before the statement at %d was stored: %d", name, text, h.barrier-1, h.stored)
	}
	at := slices.IndexFunc(m.items[name], func(it *item) bool { return it.text == text })
	if at < 0 {
		m.t.Fatalf("%s: %.20q is not of the table", name, text)
	}
	it := m.items[name][at]
	if it.ddl {
		h.barrier = msg.Offset + 1
	}
	log := h.part.Restored().Log
	if was, known := it.offsets[log]; known {
		m.tally["replayed"]++
		if was != msg.Offset {
			m.t.Fatalf("%s: %.20q came at %d and before at %d, both in %s", name, text, msg.Offset, was, log)
		}
	}
	if was := it.offsets[it.log]; it.settled && it.log != log && was >= msg.Offset {
		m.t.Fatalf("%s: %.20q came at %d in %s, and was settled at %d in %s", name, text, msg.Offset, log, was, it.log)
	}
	it.offsets[log], h.got[msg.Offset] = msg.Offset, it
	// All items of its domain between the last that came and this one are settled.
	for i := at - 1; i >= 0 && m.items[name][i] != h.last[it.domain]; i-- {
		if before := m.items[name][i]; before.domain == it.domain && !before.settled {
			m.t.Fatalf("%s: %.20q came, but %.20q before it is not settled and has not come", name, text, before.text)
		}
	}
	h.last[it.domain] = it
	// What is settled does not come again, unless the numbers are new and its transaction was not settled as a whole, nor the part
	// of it that is stored.
	if it.settled && it.seq <= countsOf(h.begin.Place)[it.domain] {
		m.t.Fatalf("%s: %.20q came again, but its transaction %d.%d is settled: began at %+v in %s",
			name, text, it.domain, it.seq, h.begin, log)
	}
	if h.begin.Part.Transaction == it.transaction(m) && it.index < h.begin.Part.Settled {
		m.t.Fatalf("%s: %.20q came again, but its part of the transaction is settled: began at %+v in %s", name, text, h.begin, log)
	}
	if it.settled && it.log == log {
		m.t.Fatalf("%s: %.20q came again at %d, but it is settled in this log: restored %+v", name, text, msg.Offset, h.part.Restored())
	}
}

// met checks that the tables of a statement have come so far that this one may have it.
func (m *model) met(name string, d *binlog.DDL) {
	if d.Tables == nil || strings.HasSuffix(d.Tables[0], ".*") {
		if d.Apply {
			m.t.Fatalf("%s: statement %q is to be applied: %q", name, d.Query, d.Tables)
		}
		return
	}
	if d.Apply != (d.Tables[0] == name) {
		m.t.Fatalf("%s: statement %q of %q: apply is %v", name, d.Query, d.Tables, d.Apply)
	}
	for i, other := range d.Tables {
		all := m.items[other]
		at := slices.IndexFunc(all, func(it *item) bool { return it.text == d.Query })
		switch {
		case i > 0 && !d.Apply:
			continue
		case i == 0 && !all[at].settled && other != name:
			m.t.Fatalf("%s: statement %q came before %s has settled it", name, d.Query, other)
		}
		for _, it := range all[:at] {
			if it.domain == all[at].domain && !it.settled {
				m.t.Fatalf("%s: statement %q came, and %.20q of %s, before it, is not settled", name, d.Query, it.text, other)
			}
		}
	}
	if len(d.Tables) > 1 {
		m.tally["met"]++
	}
}

// transaction returns the name of the item's transaction, as the log has it.
func (it *item) transaction(m *model) Place {
	alone := make([]int, len(m.log.counts))
	alone[it.domain] = it.seq
	return placeOf(alone)
}

// checkStored checks that the stored place is a transaction end at or below the frontier, and that all up to it is settled, and
// the part of the transaction behind it.
func (m *model) checkStored(name string, frontier int64) {
	p := m.store.at(name)
	mk, err := readMark(p.At)
	if err != nil || p.Frontier != frontier || mk.Number > frontier {
		m.t.Fatalf("%s: stored %+v, want frontier %d: %v", name, p, frontier, err)
	}
	for _, it := range m.items[name] {
		if it.seq > countsOf(mk.Place)[it.domain] && it.placed {
			m.t.Fatalf("%s: stored the place %s, but an earlier place was behind %d.%d", name, mk.Place, it.domain, it.seq)
		}
		it.placed = it.seq <= countsOf(mk.Place)[it.domain]
		if it.placed && !it.settled {
			m.t.Fatalf("%s: stored the place %s, but %.20q of %d.%d is not settled", name, mk.Place, it.text, it.domain, it.seq)
		}
		if it.transaction(m) == mk.Part.Transaction && it.index < mk.Part.Settled {
			m.tally["parts"]++
			if !it.settled {
				m.t.Fatalf("%s: stored %+v, but %.20q of %d.%d is not settled", name, mk, it.text, it.domain, it.seq)
			}
		}
	}
	if mk.Unnumbered {
		return
	}
	// Count again from the begin of the numbering.
	cat, err := readCatalogue(m.store.at(catalogueStream).At)
	if err != nil {
		m.t.Fatal(err)
	}
	if cat.logName() != p.Log || cat.Identity != m.log.identity {
		return // the ownership leaves
	}
	number, at, begin := cat.Base, countsOf(cat.Begin), countsOf(cat.Begin)
	for _, x := range m.log.txns {
		if placeOf(at) == mk.Place {
			break
		}
		if x.seq <= begin[x.domain] {
			continue
		}
		for _, e := range x.events {
			number += int64(len(e.Rows))
			if e.Kind == Statement {
				number++
			}
		}
		number++
		at[x.domain] = x.seq
	}
	if placeOf(at) != mk.Place || number != mk.Number {
		m.t.Fatalf("%s: stored number %d of place %s, want number %d of %s", name, mk.Number, mk.Place, number, placeOf(at))
	}
}

// check checks what holds at any time.
func (m *model) check() {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil && m.ended != context.Canceled { //nolint:errorlint // of stop
		m.t.Fatalf("Accept: %v", m.ended)
	}
	for name, h := range m.held {
		if log := h.part.Restored().Log; m.goesOn != "" && log != m.goesOn {
			m.t.Fatalf("%s: the log is %s, want the numbers of %s to go on", name, log, m.goesOn)
		}
	}
	const event = 10 * (5*400 + 200) // bytes at most
	limit := min(m.cfg.QueueBytes, m.cfg.TableBytes*len(m.names))
	if held := m.src.Prefetched(); held > int64(2*limit+len(m.names)*event) {
		m.t.Fatalf("%d bytes are held, with a limit of %d", held, limit)
	}
	for _, tr := range m.src.Report().Trouble {
		if strings.HasPrefix(tr.What, "behind") {
			m.tally["behind"]++
		}
	}
	if m.held[m.names[len(m.names)-1]] != nil {
		m.tally["registered"]++
	}
}

// finish reads until everything is settled.
func (m *model) finish() {
	m.log.fail(nil)
	m.store.mu.Lock()
	m.store.broken = nil
	m.store.mu.Unlock()
	var missing string
	for round := 0; ; round++ {
		missing = ""
		for name, all := range m.items {
			for _, it := range all {
				if !it.settled {
					missing = fmt.Sprintf("%s: %.20q of %d.%d is not settled", name, it.text, it.domain, it.seq)
				}
			}
		}
		if missing == "" {
			break
		}
		if round == 1000 {
			m.t.Fatalf("after %d rounds: %s; report %+v", round, missing, m.src.Report())
		}
		for _, name := range m.names {
			m.read(name, true)
		}
		m.check()
		time.Sleep(300 * time.Millisecond)
	}
	m.leave()
}
