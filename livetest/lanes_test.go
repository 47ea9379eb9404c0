//go:build unix

package livetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// RuleNumber is a promise of a binlog source alone.
const RuleNumber Rule = "offsets follow the log" // of all tables together

// laneChecker holds the history of a binlog's changes to the order of several lanes each. The lanes and the order are those of a
// bare reading of the log.
type laneChecker struct {
	*Report
	*History
	changes map[Message]*laneChange // by place and name
	ordered []*laneChange
	owners  map[Place]*Event // the newest one, as accepted
	running []*laneChange
	effects []effect // in their order, repeats included
	now     int      // number of the event
}

// laneChange is a change and what happened to it.
type laneChange struct {
	*change
	before      []*laneChange // the last ones of its lanes, and the last statement; of a statement: all since the one before
	first, last int           // numbers of the events with its first and its last effect; 0: none
	epoch       int64         // of the owner with the last one
}

// effect is a change that was settled.
type effect struct {
	*laneChange
	event int
}

// final reports whether the change has no later effect.
func (e effect) final() bool { return e.event == e.last }

func (c *laneChange) String() string { return c.Stream + " " + c.Key }

// meets reports whether two changes must not be handled at the same time.
func (c *laneChange) meets(other *laneChange) bool {
	return c.Place == other.Place && (c.statement != "" || other.statement != "" ||
		slices.ContainsFunc(c.lanes, func(l string) bool { return slices.Contains(other.lanes, l) }))
}

// checkLanes checks a history in which every change has a key of its own. [check] finds what has nothing to do with lanes.
// checkLanes also returns the effects in their order.
func checkLanes(h *History, changes []change) (*Report, []effect) {
	c := &laneChecker{History: h, changes: map[Message]*laneChange{}, owners: map[Place]*Event{}}
	c.order(changes)
	h.Produced = c.number()
	c.Report = check(h)
	for i := range h.Events {
		c.now = i + 1
		c.event(&h.Events[i])
	}
	if !h.Unfinished {
		c.end()
	}
	return c.Report, c.effects
}

// order connects each change with those that come right before it in its lanes.
func (c *laneChecker) order(changes []change) {
	type table struct {
		statement *laneChange
		since     []*laneChange
		lanes     map[string]*laneChange
	}
	tables := map[Place]*table{}
	for i := range changes {
		n := &laneChange{change: &changes[i]}
		n.Offset = -1 // not known
		c.changes[Message{Place: n.Place, Key: n.Key}] = n
		c.ordered = append(c.ordered, n)
		t := tables[n.Place]
		if t == nil || n.statement != "" {
			if t != nil {
				n.before = t.since
			}
			t = &table{lanes: map[string]*laneChange{}}
			tables[n.Place] = t
		}
		t.since = append(t.since, n)
		if n.statement != "" {
			t.statement = n
			continue
		}
		if t.statement != nil {
			n.before = append(n.before, t.statement)
		}
		for _, l := range n.lanes {
			if t.lanes[l] != nil {
				n.before = append(n.before, t.lanes[l])
			}
			t.lanes[l] = n
		}
	}
}

// number sets the offsets of changes to those with which they were handled first, and returns all messages.
func (c *laneChecker) number() (all []Message) {
	for i := range c.Events {
		if e := &c.Events[i]; e.Kind == Started {
			if n := c.of(e); n != nil && n.Offset < 0 {
				n.Offset = e.Offset
			}
		}
	}
	for i, n := range c.ordered {
		if n.Offset < 0 {
			n.Offset = -1 - int64(i)
		}
		all = append(all, n.Message)
	}
	return all
}

// of returns the change that a message is about, nil if the log has none.
func (c *laneChecker) of(e *Event) *laneChange { return c.changes[Message{Place: e.Place, Key: e.Key}] }

func (c *laneChecker) event(e *Event) {
	n := c.of(e)
	switch {
	case e.Kind == Killed:
		c.running = nil // members follow one another
	case e.Kind == Accepted:
		c.owners[e.Place] = e
	case n == nil: // check has told
	case e.Kind == Started:
		c.started(e, n)
	case e.Kind == Finished:
		c.running = slices.DeleteFunc(c.running, func(r *laneChange) bool { return r == n })
		if e.Text == Settled {
			n.last, n.epoch = c.now, e.Epoch
			if n.first == 0 {
				n.first = c.now
			}
			c.effects = append(c.effects, effect{n, c.now})
		}
	}
}

// started checks that all earlier changes of the lanes are settled, as its owner knows it: after a restart they are handled again
// first, unless its progress has them.
func (c *laneChecker) started(e *Event, n *laneChange) {
	o := c.owners[e.Place]
	for _, b := range n.before {
		c.wrongIf(b.first == 0 || o == nil || b.epoch != e.Epoch && !o.Progress.Settled(b.Offset), RuleOrder,
			"%v: begins before %v is settled (epoch %d)", n, b, e.Epoch)
	}
	for _, r := range c.running {
		c.wrongIf(n.meets(r), RuleSerial, "%v: begins while %v runs (epoch %d)", n, r, e.Epoch)
	}
	c.running = append(c.running, n)
}

// end checks the order of the last effects, and that offsets are the log's.
func (c *laneChecker) end() {
	offset, statement := int64(-1), "" // of the change before
	for _, n := range c.ordered {
		for _, b := range n.before {
			c.wrongIf(n.last < b.last, RuleOrder, "%v: its last effect is before that of %v", n, b)
		}
		if n.Offset >= 0 {
			same := n.statement != "" && n.Key == statement // a statement has one offset in all of its tables
			c.wrongIf(n.Offset < offset || same != (n.Offset == offset), RuleNumber, "%v: it has the offset %d, and %d came before",
				n, n.Offset, offset)
			if offset, statement = n.Offset, ""; n.statement != "" {
				statement = n.Key
			}
		}
	}
}

// content is what a table has: its rows as text, by primary key or by themselves, and how often.
type content map[string]map[string]int

// apply applies a change as a copier would: what has its primary key is replaced.
func (c content) apply(n *change) {
	name := n.Stream[strings.LastIndexByte(n.Stream, '.')+1:]
	table := columns[name]
	if n.statement == rename {
		c.rename(name, n)
		return
	}
	if c[name] == nil || strings.HasPrefix(n.statement, "DROP") || strings.HasPrefix(n.statement, "TRUNCATE") {
		c[name] = map[string]int{}
	}
	for i, m := range []image{n.before, n.after} {
		if len(m) == 0 {
			continue
		}
		row := rowText(table.names, m)
		if table.primary == 0 {
			if c[name][row] += 2*i - 1; c[name][row] == 0 {
				delete(c[name], row)
			}
			continue
		}
		key := rowText(table.names[:table.primary], m) + " "
		maps.DeleteFunc(c[name], func(old string, _ int) bool { return strings.HasPrefix(old, key) })
		if i == 1 {
			c[name][row] = 1
		}
	}
}

// rename gives a table the rows of the one that had its name before. What these are is told by the first content to which the
// change is applied, which is in the order of the log: the tables of other contents are not in step.
func (c content) rename(name string, n *change) {
	if n.becomes == nil {
		n.becomes = map[string]int{}
		for _, r := range renamed {
			if r.table == name {
				maps.Copy(n.becomes, c[r.before])
			}
		}
	}
	c[name] = maps.Clone(n.becomes)
}

// rowText is a text of some columns.
func rowText(columns []string, m image) string {
	var words []string
	for _, column := range columns {
		v, found := m[column]
		if !found {
			v = "NULL"
		}
		words = append(words, column+"="+v)
	}
	return strings.Join(words, " ")
}

// TestLaneCheckerFindsEachBrokenRule: row 0 has the lanes x and y, row 1 x, row 2 y and z, and row 4 z. Change 3 is a statement.
func TestLaneCheckerFindsEachBrokenRule(t *testing.T) {
	for _, tale := range []struct{ name, tale, rules string }{
		{"nothing is wrong", "+0 -0 +1 +2 -2 -1 +3 -3 +4 -4", ""},
		{"a kill, and the rest again", "+0 -0 +1 +2 -2 kill1 +1 -1 +2 -2 +3 -3 +4 -4", ""},
		{"a kill, and all again", "+0 -0 +1 -1 kill0 +0 -0 +1 -1 +2 -2 +3 -3 +4 -4", ""},
		{"a failure", "+0 ?0 +0 -0 +1 -1 +2 -2 +3 -3 +4 -4", ""},
		{"never handled", "+0 -0 +1 -1 +3 -3 +4 -4", "nothing lost, order per key"},
		{"of two lanes, the second one", "+0 -0 +1 -1 +3 -3 +2 -2 +4 -4", "order per key"},
		{"two rows of a lane at once", "+0 +1 -0 -1 +2 -2 +3 -3 +4 -4", "order per key, serial per key"},
		{"a statement beside a row", "+0 -0 +1 -1 +2 +3 -2 -3 +4 -4", "order per key, serial per key"},
		{"a row beside an earlier statement", "+0 -0 +1 -1 +2 -2 +3 +4 -3 -4", "order per key, serial per key"},
		{"the later one again, and not the earlier", "+0 -0 +1 -1 kill0 +1 -1 +0 -0 +2 -2 +3 -3 +4 -4", "order per key"},
		{"the earlier one again, and not the later", "+0 -0 +1 -1 kill0 +0 -0 +2 -2 +3 -3 +4 -4", "order per key"},
		{"nobody wrote it", "+0 -0 +1 -1 +2 -2 +3 -3 +4 -4 +5", "nothing made up"},
		{"another number after a restart", "+0 -0 kill0 +0:7 -0:7 +1 -1 +2 -2 +3 -3 +4 -4", "nothing made up"},
		{"numbers in another order", "+0:9 -0:9 +1 -1 +2 -2 +3 -3 +4 -4", "offsets follow the log"},
	} {
		t.Run(tale.name, func(t *testing.T) {
			var changes []change
			for i, lanes := range []string{"x y", "x", "y z", "", "z"} {
				c := change{lanes: strings.Fields(lanes)}
				c.Stream, c.Key = "t", fmt.Sprint(i)
				if lanes == "" {
					c.statement = "ALTER"
				}
				changes = append(changes, c)
			}
			h := historyOfLanes(t, tale.tale)
			report, _ := checkLanes(h, changes)
			delete(report.Broken, RuleConserve) // the member is not told to end
			if got := strings.Join(slices.Sorted(maps.Keys(report.Broken)), ", "); got != tale.rules {
				t.Errorf("it breaks %q, want %q\n%v", got, tale.rules, report)
			}
		})
	}
}

// A statement that names two tables is a change of each.
func TestStatementHasOneOffsetInAllOfItsTables(t *testing.T) {
	for _, tale := range []struct {
		name    string
		offsets [4]int64 // of a row, of the statement in two tables, and of a row behind it
		right   bool
	}{
		{"one", [4]int64{1, 2, 2, 3}, true},
		{"two", [4]int64{1, 2, 3, 4}, false},
		{"that of the row before", [4]int64{2, 2, 2, 3}, false},
		{"that of the row behind", [4]int64{1, 2, 2, 2}, false},
	} {
		t.Run(tale.name, func(t *testing.T) {
			var changes []change
			h := &History{Workers: 8, Events: []Event{
				{Kind: Accepted, At: 1, Member: "m", Epoch: 1, Message: Message{Place: Place{Stream: "t"}}},
				{Kind: Accepted, At: 2, Member: "m", Epoch: 1, Message: Message{Place: Place{Stream: "u"}}},
			}}
			for i, offset := range tale.offsets {
				c := change{Message: Message{Place: Place{Stream: []string{"t", "t", "u", "u"}[i]}, Key: fmt.Sprint(i)}}
				if i == 1 || i == 2 {
					c.Key, c.statement = "RENAME", "RENAME"
				}
				changes = append(changes, c)
				c.Offset = offset
				for _, e := range []Event{{Kind: Started}, {Kind: Finished, Text: Settled}} {
					e.Message, e.At, e.Member, e.Epoch = c.Message, int64(len(h.Events)+1), "m", 1
					h.Events = append(h.Events, e)
				}
			}
			report, _ := checkLanes(h, changes)
			if wrong := report.Broken[RuleNumber]; (len(wrong) == 0) != tale.right {
				t.Errorf("%q", wrong)
			}
		})
	}
}

// historyOfLanes makes a history: +1 begins the change 1, -1 settles it, ?1 has it fail, and +1:7 begins it with the offset 7.
// With kill1 the member ends, and another one begins with the frontier 1.
func historyOfLanes(t *testing.T, tale string) *History {
	t.Helper()
	h := &History{Workers: 8}
	epoch := int64(1)
	tell := func(e Event) {
		if e.Kind != Killed {
			e.Epoch, e.Member = epoch, fmt.Sprint("m", epoch)
		}
		e.Stream, e.At = "t", int64(len(h.Events)+1)
		h.Events = append(h.Events, e)
	}
	tell(Event{Kind: Accepted})
	for word := range strings.FieldsSeq(tale) {
		var frontier int64
		if n, _ := fmt.Sscanf(word, "kill%d", &frontier); n == 1 {
			p := commit.Progress{Frontier: frontier}
			tell(Event{Kind: Trying, Progress: p})
			tell(Event{Kind: Stored})
			tell(Event{Kind: Killed, Member: fmt.Sprint("m", epoch)})
			epoch++
			tell(Event{Kind: Accepted, Progress: p})
			continue
		}
		e := Event{Kind: Started}
		var offset int64
		switch n, _ := fmt.Sscanf(word[1:], "%d:%d", &e.Offset, &offset); n {
		case 2:
			e.Key, e.Offset = fmt.Sprint(e.Offset), offset
		default:
			e.Key = fmt.Sprint(e.Offset)
		}
		switch word[0] {
		case '-':
			e.Kind, e.Text = Finished, Settled
		case '?':
			e.Kind, e.Text = Finished, Failed
		}
		tell(e)
	}
	return h
}
