package main

import (
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
)

// logged is a change as the log of a topic has it. The judge knows its lanes from the log, not from the pipeline.
type logged struct {
	change
	lanes     []string // values of unique keys before and after it
	statement bool
	at        time.Time
}

// A judge compares what the processes have reported with the log.
type judge struct {
	places map[change]place
	tables map[string]*table
	counts show.Counts
}

// table is a table of the log.
type table struct {
	changes []logged
	handled []bool // by any process
	low     int    // all changes below it are handled
	lanes   map[string]*lane
	running int
	again   int   // begun again after they were handled by an earlier process
	barrier []int // of each change, the last statement before it; -1: none
}

// lane is the changes that share a unique value.
type lane struct {
	size    int
	handled int // changes below it are handled
	running int
	last    int // the change that the running process began last; -1: none
}

// place is where a change is in its table, and in its lanes.
type place struct {
	table *table
	at    int
	lanes []int // as logged.lanes has them
}

func newJudge(log []logged) *judge {
	j := &judge{places: make(map[change]place), tables: make(map[string]*table)}
	for _, c := range log {
		t := j.tables[c.stream]
		if t == nil {
			t = &table{lanes: make(map[string]*lane)}
			j.tables[c.stream] = t
		}
		p := place{table: t, at: len(t.changes)}
		for _, name := range c.lanes {
			l := t.lanes[name]
			if l == nil {
				l = &lane{last: -1}
				t.lanes[name] = l
			}
			p.lanes = append(p.lanes, l.size)
			l.size++
		}
		before := -1
		if n := len(t.changes); n > 0 {
			before = t.barrier[n-1]
			if t.changes[n-1].statement {
				before = n - 1
			}
		}
		t.changes, t.handled, t.barrier = append(t.changes, c), append(t.handled, false), append(t.barrier, before)
		j.places[c.change] = p
	}
	return j
}

// judge judges all events in their order. The first process was killed; committed reports what it had committed.
func (j *judge) judge(events []event, committed func(event) bool) show.Counts {
	process := 0
	begun := make(map[change]bool) // by the first process
	before := make(map[change]bool)
	for _, e := range events {
		if e.process != process {
			process = e.process
			j.restart(before)
		}
		p, known := j.places[e.change]
		switch {
		case !known:
			j.counts.Violations++ // it was never in the log
		case !e.begins:
			j.ends(p)
		default:
			j.begins(p)
			if before[e.change] {
				j.counts.Replayed++
				p.table.again++
			}
			if e.process == 0 && !begun[e.change] {
				begun[e.change] = true
				if committed(e) {
					j.counts.Committed++
				} else {
					j.counts.Bound++
				}
			}
		}
	}
	for _, t := range j.tables {
		for _, handled := range t.handled {
			if !handled {
				j.counts.Lost++
			}
		}
	}
	return j.counts
}

// restart forgets what the process before was doing, and notes in handled what was handled by now.
func (j *judge) restart(handled map[change]bool) {
	for _, t := range j.tables {
		t.running = 0
		for _, l := range t.lanes {
			l.running, l.last = 0, -1
		}
		for i, c := range t.changes {
			handled[c.change] = t.handled[i]
		}
	}
}

func (j *judge) begins(p place) {
	t := p.table
	c := t.changes[p.at]
	late := c.statement && t.low < p.at // something before it is not handled
	if b := t.barrier[p.at]; b >= 0 && !t.handled[b] {
		late = true // nor is the statement before it
	}
	overlaps := c.statement && t.running > 0
	for i, name := range c.lanes {
		l, n := t.lanes[name], p.lanes[i]
		late = late || n > l.handled || l.last >= 0 && n != l.last+1
		overlaps = overlaps || l.running > 0
		l.running++
		l.last = n
	}
	t.running++
	if late {
		j.counts.Violations++
	}
	if overlaps {
		j.counts.Overlaps++
	}
}

func (j *judge) ends(p place) {
	t := p.table
	t.running--
	t.handled[p.at] = true
	for t.low < len(t.handled) && t.handled[t.low] {
		t.low++
	}
	for i, name := range t.changes[p.at].lanes {
		l := t.lanes[name]
		l.running--
		l.handled = max(l.handled, p.lanes[i]+1)
	}
}

// lags returns for each table how many changes were in the log at a time, and not handled.
func lags(log []logged, events []event, at time.Time) map[string]int {
	all := make(map[string]int)
	for _, c := range log {
		if !c.at.After(at) {
			all[c.stream]++
		}
	}
	done := make(map[change]bool)
	for _, e := range events {
		if !e.begins && !e.at.After(at) && !done[e.change] {
			done[e.change] = true
			all[e.stream]--
		}
	}
	return all
}
