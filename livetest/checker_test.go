package livetest

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// tale is a crafted history of one partition with four messages: 0 and 2 of key x, 1 and 3 of key y.
type tale struct{ events []Event }

func (s *tale) member(k Kind, name string) *tale {
	s.events = append(s.events, Event{Kind: k, Member: name, At: int64(len(s.events) + 1)})
	return s
}

func (s *tale) at(k Kind, name string, epoch, offset int64, text string) *tale {
	key := "x"
	if offset%2 == 1 {
		key = "y"
	}
	s.events = append(s.events, Event{
		Kind: k, Member: name, At: int64(len(s.events) + 1), Stream: "t", Epoch: epoch, Offset: offset, Key: key, Number: offset / 2, Text: text,
	})
	return s
}

func (s *tale) progress(k Kind, name string, epoch, frontier int64, ahead ...Range) *tale {
	s.events = append(s.events, Event{Kind: k, Member: name, At: int64(len(s.events) + 1), Stream: "t", Epoch: epoch, Progress: Progress{frontier, ahead}})
	return s
}

func (s *tale) accept(name string, epoch, frontier int64, ahead ...Range) *tale {
	return s.progress(Accepted, name, epoch, frontier, ahead...)
}

func (s *tale) try(name string, epoch, frontier int64, ahead ...Range) *tale {
	return s.progress(Trying, name, epoch, frontier, ahead...)
}

func (s *tale) stored(name string, epoch int64) *tale { return s.progress(Stored, name, epoch, 0) }

func (s *tale) commit(name string, epoch, frontier int64, ahead ...Range) *tale {
	return s.try(name, epoch, frontier, ahead...).stored(name, epoch)
}

func (s *tale) start(name string, epoch, offset int64) *tale {
	return s.at(Started, name, epoch, offset, "")
}

func (s *tale) end(name string, epoch, offset int64, how string) *tale {
	return s.at(Finished, name, epoch, offset, how)
}

func (s *tale) handle(name string, epoch int64, offsets ...int64) *tale {
	for _, o := range offsets {
		s.start(name, epoch, o).end(name, epoch, o, Settled)
	}
	return s
}

// write makes outputs durable, each in a Write of its own.
func (s *tale) write(name string, epoch int64, offsets ...int64) *tale {
	for _, o := range offsets {
		s.at(Written, name, epoch, o, "")
		s.events[len(s.events)-1].Number = 1
	}
	return s
}

func (s *tale) release(name string, epoch int64) *tale { return s.at(Released, name, epoch, 0, "") }

func (s *tale) history(change ...func(*History)) *History {
	h := &History{Events: s.events, Orderly: true, Committed: map[Place]Progress{{Stream: "t"}: {Frontier: 4}}}
	for i := range int64(4) {
		key := "x"
		if i%2 == 1 {
			key = "y"
		}
		h.Produced = append(h.Produced, Message{Place: Place{Stream: "t"}, Offset: i, Key: key, Number: i / 2})
	}
	for _, c := range change {
		c(h)
	}
	return h
}

func begin() *tale { return (&tale{}).member(Begun, "a").member(Begun, "b") }

func disorderly(h *History) { h.Orderly = false }

// TestCheckerFindsEachBrokenRule: a checker that cannot fail proves nothing.
func TestCheckerFindsEachBrokenRule(t *testing.T) {
	for _, c := range []struct {
		name string
		want []Rule
		h    *History
	}{
		{"nothing is wrong", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).member(Ended, "a").history()},
		{"handed over in order, with ranges ahead", nil, begin().accept("a", 1, 0).handle("a", 1, 1, 3).commit("a", 1, 0, Range{1, 2}, Range{3, 4}).release("a", 1).
			accept("b", 2, 0, Range{1, 2}, Range{3, 4}).handle("b", 2, 0, 2).commit("b", 2, 4).release("b", 2).history()},
		{"another attempt", nil, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Failed).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history()},
		{"killed, and the rest again", nil, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).start("a", 1, 3).member(Killed, "a").
			accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"killed, and another owns it before the test says so", nil, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).member(Dying, "a").handle("a", 1, 1).start("a", 1, 2).
			accept("b", 2, 1).handle("b", 2, 1).member(Killed, "a").handle("b", 2, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"another owns it before the process is dead", []Rule{RuleOwner}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).member(Dying, "a").accept("b", 2, 1).
			handle("a", 1, 1).member(Killed, "a").handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"a frozen owner overlaps", nil, begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").accept("b", 2, 0).start("b", 2, 0).member(Continued, "a").
			end("a", 1, 0, Settled).end("b", 2, 0, Settled).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).at(Lost, "a", 1, 0, "").release("a", 1).history(disorderly)},
		{"an answer that a frozen owner gets late", nil, begin().accept("a", 1, 0).handle("a", 1, 0).try("a", 1, 1).member(Paused, "a").accept("b", 2, 1).
			member(Continued, "a").stored("a", 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"a stuck key", nil, begin().accept("a", 1, 0).handle("a", 1, 1, 3).start("a", 1, 0).end("a", 1, 0, Cancelled).commit("a", 1, 0, Range{1, 2}, Range{3, 4}).
			release("a", 1).history(func(h *History) {
			h.Stuck, h.Committed = "x", map[Place]Progress{{Stream: "t"}: {0, []Range{{1, 2}, {3, 4}}}}
		})},

		{"a message is never settled", []Rule{RuleLost, RuleProgress, RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 4).release("a", 1).history()},
		{"a message nobody produced", []Rule{RuleForeign}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).start("a", 1, 9).release("a", 1).history()},
		{"a later message starts first", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 2, 0, 1, 3).commit("a", 1, 4).release("a", 1).history()},
		{"a later message starts after a failure", []Rule{RuleOrder}, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Failed).
			handle("a", 1, 2, 0, 1, 3).commit("a", 1, 4).release("a", 1).history()},
		{"a settled message again", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history()},
		{"one that was restored as settled again", []Rule{RuleOrder, RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1).commit("a", 1, 2).release("a", 1).
			accept("b", 2, 2).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"two turns of a key in a process", []Rule{RuleOrder, RuleSerial}, begin().accept("a", 1, 0).start("a", 1, 0).start("a", 1, 2).end("a", 1, 0, Settled).end("a", 1, 2, Settled).
			handle("a", 1, 1, 3).commit("a", 1, 4).release("a", 1).history()},
		{"an old turn runs when the key starts elsewhere", []Rule{RuleFence, RuleSerial}, begin().accept("a", 1, 0).start("a", 1, 0).release("a", 1).accept("b", 2, 0).
			start("b", 2, 0).end("a", 1, 0, Settled).end("b", 2, 0, Settled).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"the same, in one process after a loss", []Rule{RuleSerial}, begin().accept("a", 1, 0).start("a", 1, 0).at(Lost, "a", 1, 0, "").release("a", 1).accept("a", 2, 0).
			start("a", 2, 0).end("a", 1, 0, Settled).end("a", 2, 0, Settled).handle("a", 2, 1, 2, 3).commit("a", 2, 4).release("a", 2).history(disorderly)},
		{"two owners", []Rule{RuleOwner}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).release("a", 1).history()},
		{"an old owner goes on", []Rule{RuleOwner}, begin().accept("a", 1, 0).accept("b", 2, 0).handle("a", 1, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).release("a", 1).
			history(func(h *History) { h.Workers = 10 })},
		{"a loss where there is none", []Rule{RuleOwner}, begin().accept("a", 1, 0).at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"a start after the release", []Rule{RuleFence, RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).release("a", 1).handle("a", 1, 3).accept("b", 2, 3).
			handle("b", 2, 3).commit("b", 2, 4).release("b", 2).history(func(h *History) { h.Workers = 10; h.Orderly = false })},
		{"a start after the end of the ctx", []Rule{RuleFence}, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Cancelled).handle("a", 1, 1).commit("a", 1, 0, Range{1, 2}).release("a", 1).
			accept("b", 2, 0, Range{1, 2}).handle("b", 2, 0, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"one start after the end of the ctx of a lost owner too many", []Rule{RuleFence}, begin().accept("a", 1, 0).start("a", 1, 0).at(Lost, "a", 1, 0, "").end("a", 1, 0, Cancelled).
			handle("a", 1, 1).start("a", 1, 3).end("a", 1, 3, Cancelled).release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			history(disorderly, func(h *History) { h.Workers = 1 })},
		{"as many as may have been under way", nil, begin().accept("a", 1, 0).start("a", 1, 0).at(Lost, "a", 1, 0, "").end("a", 1, 0, Cancelled).
			start("a", 1, 1).end("a", 1, 1, Cancelled).release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			history(disorderly, func(h *History) { h.Workers = 1 })},
		{"progress claims too much", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 2).handle("a", 1, 1, 2, 3).commit("a", 1, 4).release("a", 1).history()},
		{"the highest settled is no frontier", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 1, 3).commit("a", 1, 4).handle("a", 1, 0, 2).release("a", 1).history()}, // seed 31
		{"a range claims too much", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1, Range{2, 3}).handle("a", 1, 1, 2, 3).commit("a", 1, 4).release("a", 1).history()},
		{"something is restored that nobody committed", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 2).release("a", 1).accept("b", 2, 3).handle("b", 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"a commit goes back", []Rule{RuleBack}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).try("a", 1, 3).release("a", 1).history()},
		{"a restart goes back", []Rule{RuleBack, RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1).commit("a", 1, 2).release("a", 1).
			accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"the store went back", []Rule{RuleBack, RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).
			history(func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 3} })},
		{"a stale commit is stored", []Rule{RuleStale}, begin().accept("a", 1, 0).handle("a", 1, 0).member(Paused, "a").accept("b", 2, 0).member(Continued, "a").commit("a", 1, 1).
			handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(func(h *History) { h.Workers = 10; h.Orderly = false })},
		{"a commit after the release", []Rule{RuleStale}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).try("a", 1, 4).history()},
		{"given back without the last commit", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).release("a", 1).
			accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"a crash costs more than one commit interval", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 0, Range{0, 3}).handle("a", 1, 3).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"epochs do not grow", []Rule{RuleEpoch}, begin().accept("a", 3, 0).handle("a", 3, 0).commit("a", 3, 1).release("a", 3).accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history()},
		{"the store keeps less than was stored", []Rule{RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 3).commit("a", 1, 2, Range{3, 4}).handle("a", 1, 2).release("a", 1).
			history(func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 2} })},
		{"the store keeps more than was settled", []Rule{RuleLost, RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).release("a", 1).history()},
		{"a dead letter", []Rule{RuleLetter}, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Failed).at(Lettered, "a", 1, 0, "").handle("a", 1, 1, 2, 3).commit("a", 1, 4).release("a", 1).history()},
		{"a turn that never ends", []Rule{RuleConserve}, begin().accept("a", 1, 0).start("a", 1, 0).at(Lost, "a", 1, 0, "").release("a", 1).member(Ended, "a").
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)},
		{"an end without a beginning", []Rule{RuleConserve}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).end("a", 1, 3, Settled).commit("a", 1, 4).release("a", 1).history()},
		{"counters that do not add up", []Rule{RuleConserve}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).member(Broken, "a").history()},
		{"a line torn without a crash", []Rule{RuleConserve}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history(func(h *History) { h.Torn = 1 })},
		{"Run returns an error", []Rule{RuleMember}, (&tale{[]Event{{Kind: Ended, Member: "a", Text: "boom"}}}).accept("b", 1, 0).handle("b", 1, 0, 1, 2, 3).commit("b", 1, 4).release("b", 1).history()},
		{"the dead speak", []Rule{RuleMember}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).member(Killed, "a").member(Ended, "a").history(disorderly)},
	} {
		t.Run(c.name, func(t *testing.T) { breaks(t, c.h, c.want) })
	}
}

// breaks sees that a history breaks these rules and no others.
func breaks(t *testing.T, h *History, rules []Rule) {
	t.Helper()
	report := Check(h)
	want := map[Rule]bool{}
	for _, r := range rules {
		want[r] = true
	}
	for r := range report.Counts {
		if !want[r] {
			t.Errorf("rule %q is broken, too", r)
		}
		delete(want, r)
	}
	for r := range want {
		t.Errorf("rule %q is not broken", r)
	}
	if t.Failed() {
		t.Logf("found:\n%v", report)
	}
}

func TestCheckerCountsWhatIsHandledAgain(t *testing.T) {
	h := begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).start("a", 1, 3).end("a", 1, 3, Failed).start("a", 1, 3).member(Killed, "a").
		accept("b", 2, 1).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)
	f := Check(h).Figures
	if f.Again != 2 || f.Bound != 2 || f.Turns != 8 || f.Attempts != 1 || f.HandOvers != 1 || f.Committed != 2 {
		t.Errorf("figures are %+v, want 2 again of 2, 8 turns, 1 other attempt, 1 hand-over, 2 commits", f)
	}
}

func TestCheckerTellsLateResultsFromReplays(t *testing.T) {
	// a is frozen with offset 0 running and 1 to come, b takes over and settles 1; then a ends 0, and begins 1 before it knows.
	h := begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").accept("b", 2, 0).handle("b", 2, 1).member(Continued, "a").
		end("a", 1, 0, Settled).handle("a", 1, 1).at(Lost, "a", 1, 0, "").release("a", 1).handle("b", 2, 0, 2, 3).commit("b", 2, 4).release("b", 2).history(disorderly)
	report := Check(h)
	if f := report.Figures; f.Again != 1 || f.Bound != 1 || f.Stale != 1 || f.Losses != 1 || len(report.Violations) > 0 {
		t.Errorf("figures are %+v, want 1 again of 1, 1 stale, 1 lost; violations:\n%v", f, report)
	}
}

func TestHistoryComesBackAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	a, err := NewRecorder(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	want := []Event{
		{Kind: Begun, Member: "a"},
		{Kind: Started, Member: "a", Stream: "t", Partition: 3, Epoch: 7, Offset: 9, Key: "k", Number: 2, Attempt: 1},
		{Kind: Trying, Member: "a", Stream: "t", Epoch: 7, Progress: Progress{5, []Range{{6, 8}, {9, 10}}}},
		{Kind: Ended, Member: "a", Text: "a \"b\"\nc ."},
		{Kind: Killed, Member: "b"},
	}
	for _, e := range want {
		a.Write(e)
	}
	// A line torn by SIGKILL takes no other with it.
	if _, err := a.file.WriteString("\nS b 17 t 1"); err != nil {
		t.Fatal(err)
	}
	a.Write(Event{Kind: Continued, Member: "c"})
	want = append(want, Event{Kind: Continued, Member: "c"})
	if _, err := a.file.WriteString("\nF half"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, torn, rest, err := Parse(b)
	if err != nil || torn != 1 || string(rest) != "F half" {
		t.Errorf("torn %d, rest %q, error %v; want 1, \"F half\", none", torn, rest, err)
	}
	for i := range got {
		got[i].At = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}
