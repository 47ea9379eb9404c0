package livetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// TestCheckerFindsEachBrokenRule: a checker that cannot fail proves nothing.
func TestCheckerFindsEachBrokenRule(t *testing.T) {
	// The service tells a new owner what is settled, or it withholds what is acknowledged.
	told := func(name, tale string, want ...Rule) {
		t.Run(name+"/told", func(t *testing.T) { breaks(t, historyOf(t, tale, false), want) })
	}
	withheld := func(name, tale string, want ...Rule) {
		t.Run(name+"/withheld", func(t *testing.T) { breaks(t, historyOf(t, tale, true), want) })
	}
	both := func(name, tale string, want ...Rule) {
		told(name, tale, want...)
		withheld(name, tale, want...)
	}
	both("nothing is wrong", "run orderly; a1 completes 0 1 2 3; a ended")
	both("an orderly hand-over with ranges ahead",
		"run orderly; a1 does 1 3, commits 0 1-2 3-4, released; b2 accepted 0 1-2 3-4, completes 0 2")
	both("a retry", "a1 started 0, fails 0, completes 0 1 2 3")
	both("a kill, and the rest again", "a1 does 0, commits 1, does 1 2, started 3; a killed; b2 accepted 1, completes 1 2 3")
	both("another owner before the test writes the kill",
		"a1 does 0, commits 1; a dying; a1 does 1, started 2; b2 accepted 1, does 1; a killed; b2 completes 2 3")
	both("a frozen owner overlaps",
		"a1 started 0; a paused; b2 accepted 0, started 0; a continued; a1 settles 0; b2 settles 0, completes 1 2 3; a1 lost, released")
	both("a frozen owner gets an answer late", "a1 does 0, trying 1; a paused; b2 accepted 1; a continued; a1 stored; b2 completes 1 2 3")
	both("a stuck key", "run stuck, keeps 0 1-2 3-4; a1 does 1 3, started 0, cancels 0, commits 0 1-2 3-4, released")
	both("as many starts after a loss as were under way",
		"run workers 1; a1 started 0, lost, cancels 0, started 1, cancels 1, released; b2 accepted 0, completes 0 1 2 3")
	both("never settled", "a1 does 0 1 2, commits 4, released", RuleLost, RuleProgress, RuleFinal)
	both("nobody produced it", "a1 does 0 1 2 3, commits 4, started 9, released", RuleForeign)
	both("a later message first", "a1 completes 2 0 1 3", RuleOrder)
	both("a later message after a failure", "a1 started 0, fails 0, completes 2 0 1 3", RuleOrder)
	both("a settled message again", "a1 completes 0 0 1 2 3", RuleOrder)
	both("two owners", "a1 does 0, commits 1; b2 accepted 1, completes 1 2 3; a1 released", RuleOwner)
	both("progress claims too much", "a1 does 0, commits 2, completes 1 2 3", RuleProgress)
	both("the highest settled is no frontier", "a1 does 1 3, commits 4, does 0 2, released", RuleProgress)
	both("a range claims too much", "a1 does 0, commits 1 2-3, completes 1 2 3", RuleProgress)
	both("a commit goes back", "a1 does 0 1 2 3, commits 4, trying 3, released", RuleBack)
	told("the store went back", "run keeps 3; a1 completes 0 1 2 3", RuleBack, RuleFinal)
	both("a commit after the release", "a1 completes 0 1 2 3, trying 4", RuleStale)
	withheld("the store keeps less than was settled", "run keeps 3; a1 completes 0 1 2 3", RuleFinal)
	both("the store keeps more than was settled", "a1 does 0 1 2, commits 3, released", RuleLost, RuleFinal)
	both("a dead letter", "a1 started 0, fails 0, lettered 0, completes 1 2 3", RuleLetter)
	both("a dead letter that may be", "run letters; a1 started 0, fails 0, lettered 0, completes 1 2 3")
	both("an end without a beginning", "a1 does 0 1 2 3, settles 3, commits 4, released", RuleConserve)
	both("counters do not add up", "a1 completes 0 1 2 3; a broken", RuleConserve)
	both("a line is torn without a kill", "a1 completes 0 1 2 3; test torn", RuleConserve)
	both("a kill tears a line", "a1 completes 0 1 2 3; a dying; test torn; a killed")
	both("Run returns an error", "a ended boom; b1 accepted 0, completes 0 1 2 3", RuleMember)
	both("the dead speak", "a1 completes 0 1 2 3; a killed, ended", RuleMember)
	both("an event of nobody's partition", "a1 completes 0 1 2 3; b1 lost", RuleHistory)
	both("another owner before the process is dead",
		"a1 does 0, commits 1; a dying; b2 accepted 1; a1 does 1; a killed; b2 completes 1 2 3", RuleOwner)
	told("a message restored as settled again", "a1 does 0 1, commits 2, released; b2 accepted 2, completes 1 2 3", RuleOrder, RuleReplay)
	both("two turns of a key", "a1 started 0 2, settles 0 2, completes 1 3", RuleOrder, RuleSerial)
	both("an old turn runs when the key starts elsewhere",
		"a1 started 0, released; b2 accepted 0, started 0; a1 settles 0; b2 settles 0, completes 1 2 3", RuleFence, RuleSerial)
	both("the same in one process after a loss",
		"a1 started 0, lost, released; a2 accepted 0, started 0; a1 settles 0; a2 settles 0, completes 1 2 3", RuleSerial)
	both("a loss where none may be", "run orderly; a1 lost, released; b2 accepted 0, completes 0 1 2 3", RuleOwner)
	told("a start after the release",
		"run workers 10; a1 does 0 1 2, commits 3, released, does 3; b2 accepted 3, completes 3", RuleFence, RuleReplay)
	both("a start after the end of ctx",
		"a1 started 0, cancels 0, does 1, commits 0 1-2, released; b2 accepted 0 1-2, completes 0 2 3", RuleFence)
	both("one start after a loss too many",
		"run workers 1; a1 started 0, lost, cancels 0, does 1, started 3, cancels 3, released; b2 accepted 0, completes 0 1 2 3", RuleFence)
	withheld("progress claims what this owner has begun again",
		"a1 does 0; a killed; b2 accepted 0, started 0, commits 1, settles 0, completes 1 2 3", RuleProgress)
	told("nobody committed what is restored", "a1 does 0 1, commits 2, does 2, released; b2 accepted 3, completes 3", RuleProgress)
	told("two commits are restored as one",
		"a1 does 0 1 3, commits 1 1-2, commits 1 3-4, released; b2 accepted 1 1-2 3-4, completes 2", RuleProgress)
	told("a store has cut ranges", "run workers 1; a1 does 0 1 3, trying 1 1-2 3-4, stored 1, released; b2 accepted 1 1-2, completes 2 3")
	withheld("nobody settled what is restored", "run stuck, unknown; a1 told 1, does 1 3, commits 2, released", RuleProgress)
	told("a restart goes back", "a1 does 0, commits 1, does 1, commits 2, released; b2 accepted 1, completes 1 2 3", RuleBack, RuleReplay)
	told("a stale commit is stored",
		"run workers 10; a1 does 0; a paused; b2 accepted 0; a continued; a1 commits 1; b2 completes 0 1 2 3", RuleStale)
	both("an owner that can know acknowledges late",
		"a1 does 0, commits 1, released; b2 accepted 1; a1 trying 1; b2 completes 1 2 3", RuleStale)
	both("a release without the last commit", "a1 does 0, commits 1, does 1 2, released; b2 accepted 1, completes 1 2 3", RuleReplay)
	both("a crash costs more than one commit interval",
		"a1 does 0 1 2, commits 0 0-3, does 3; a killed; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	told("a commit leaves out settled messages",
		"run workers 1; a1 does 0 1, commits 0; a killed; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	both("a commit leaves out messages that are not noted yet",
		"run workers 2; a1 does 0 1, commits 0; a killed; b2 accepted 0, completes 0 1 2 3")
	both("epochs do not grow", "a3 accepted 0, does 0, commits 1, released; b2 accepted 1, completes 1 2 3", RuleEpoch)
	told("the store keeps less than was stored", "run keeps 2; a1 does 0 1 3, commits 2 3-4, does 2, released", RuleFinal)
	both("a member vanishes in a turn", "a1 started 0, lost, released; b2 accepted 0, completes 0 1 2 3", RuleConserve)
	both("nobody owns the partition", "a ended", RuleLost, RuleFinal)
	both("an answer to no commit", "a1 stored, completes 0 1 2 3", RuleHistory)
	both("an unknown event", "a1 completes 0 1 2 3, dances", RuleHistory)
	both("a turn never ends", "a1 started 0, lost, released; a ended; b2 accepted 0, completes 0 1 2 3", RuleConserve)

	// Where settled messages are withheld.
	withheld("a commit under way at a kill arrived", "a1 does 0 1 2, trying 3; a killed; b2 accepted 0, completes 3")
	withheld("a part of it arrived", "a1 does 0 1 2, trying 3; a killed; b2 accepted 0, completes 1 2 3")
	withheld("part of a batch was not acknowledged",
		"a1 does 0 1, trying 2, stored 2, released; b2 accepted 0; b killed; c3 accepted 0, completes 0 1 2 3")
	withheld("it is delivered again twice",
		"a1 does 0 1, trying 2, stored 2, released; b2 accepted 0, does 0; b killed; c3 accepted 0, completes 0 1 2 3")
	withheld("a killed node forgets new commits",
		"run crashing 5; a1 does 0, commits 1, does 1 2, commits 3; test crashing, gone; a1 released; b2 accepted 0, completes 1 2 3")
	withheld("a killed node forgets old commits",
		"run crashing 5; a1 does 0, commits 1, does 1 2, commits 3; test crashing, gone; a1 released; "+
			"b2 accepted 0, completes 0 1 2 3", RuleReplay)
	withheld("a node forgets what it confirms at a kill",
		"run crashing 0; a1 does 0; test crashing; a1 commits 1; test gone; a killed; b2 accepted 0, completes 0 1 2 3")
	withheld("a node forgets what it confirms at a stop",
		"run stopping 0; a1 does 0; test stopping; a1 commits 1; test gone; a1 lost, released; b2 accepted 0, completes 0 1 2 3")
	withheld("a stopped node forgets new commits",
		"run stopping 5; a1 does 0, commits 1; test stopping, gone; a1 lost, released; b2 accepted 0, completes 0 1 2 3")
	withheld("a stopped node forgets as if it were killed",
		"run crashing 5, stopping 1; a1 does 0, commits 1, does 1, commits 2; test stopping, gone; a1 lost, released; "+
			"b2 accepted 0, completes 0 1 2 3", RuleReplay)
	withheld("an answer of a killed node is written late",
		"run crashing 0; a1 does 0, trying 1; test crashing, gone; a1 stored, lost, released; b2 accepted 0, completes 0 1 2 3")
	withheld("an owner that began during the kill is disconnected",
		"run crashing 0; test crashing; a1 accepted 0, does 0; test gone; a1 commits 1, lost, released; b2 accepted 0, completes 0 1 2 3")
	withheld("late acknowledgements of a frozen owner count",
		"a1 started 0; a paused; b2 accepted 0, started 0; a continued; a1 settles 0; b2 settles 0, commits 1, released; "+
			"a1 commits 1, released; b3 accepted 0, completes 1 2 3")
	withheld("a frozen owner settles late",
		"a1 started 0; a paused; b2 accepted 0, does 0 1 2 3; a continued; a1 settles 0; b2 commits 4, released; a1 lost, released")
	withheld("a frozen member hears late of an ownership",
		"b1 accepted 0, released; a paused; b3 accepted 0; a continued; a2 accepted 0, started 0, lost, cancels 0, released; "+
			"b3 completes 0 1 2 3")
	both("another member owns with an old epoch", "b3 accepted 0, completes 0 1 2 3; a2 accepted 4, released", RuleEpoch)
	withheld("a frozen member stores late",
		"b1 accepted 0, released; a paused; b3 accepted 0; a continued; a2 accepted 0; b3 completes 0 1 2 3; "+
			"a2 released, commits 0", RuleStale)
	withheld("settled only by an old owner",
		"a1 started 0; a paused; b2 accepted 0; a continued; b2 released; a1 settles 0, commits 1, released; "+
			"b3 accepted 0, completes 1 2 3", RuleLost)
	withheld("the last owner was disconnected before it acknowledged all", "run keeps 3; a1 does 0 1 2, commits 3, does 3, lost, released")
	withheld("a node forgets what it may not forget",
		"a1 does 0; test stopping; a1 commits 1; test gone; a1 lost, released; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	withheld("an owner that began after the kill keeps its commits",
		"run crashing 0; test crashing, gone; a1 accepted 0, does 0, commits 1, lost, released; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	withheld("the message before was settled by an old owner meanwhile",
		"a1 started 0; a paused; b2 accepted 0; a continued; a1 settles 0; b2 completes 2 1 3", RuleLost, RuleOrder, RuleProgress)
	withheld("an unsettled message is not delivered",
		"run stuck, unknown; a1 started 0, fails 0, does 1, commits 0 1-2, released; b2 accepted 0, completes 2 3", RuleOrder, RuleProgress)
	withheld("an earlier message again behind a later one", "a1 does 0 1 2 3, trying 0 1-4; a killed; b2 accepted 0, completes 0", RuleOrder)
	withheld("acknowledgements are lost below one that is not",
		"a1 does 0 1 2, trying 3, stored 2, does 3; a killed; b2 accepted 0, completes 0 1 3", RuleOrder)
	withheld("an acknowledged message again", "a1 does 0 1 2, commits 3; a killed; b2 accepted 0, completes 1 2 3", RuleReplay)
	withheld("an acknowledged message in place of another",
		"a1 does 0 1, commits 0 1-2; a killed; b2 accepted 0, completes 1 2 3", RuleReplay)
	withheld("more of a batch again than was said",
		"a1 does 0 1 2, trying 3, stored 2; a killed; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	withheld("and what it had acknowledged is gone", "run keeps 2; a1 does 0 1 2, commits 3, does 3, lost, released", RuleFinal)

	// Where a message is settled when its output is durable.
	both("with outputs", "run outputs; a1 does 0 1, written 0 1, does 2 3, written 3 2, commits 4, released")
	both("the key goes on before the output is durable", "run outputs; a1 does 0 2 1 3, written 0 2 1 3, commits 4, released")
	both("a kill before the outputs are durable",
		"run outputs, writers 1; a1 does 0 2 1, written 0; a killed; b2 accepted 0, completes 0 1 2 3")
	both("an output is never durable", "run outputs, keeps 3; a1 does 0 1 2 3, written 0 1 2, commits 3, released", RuleLost)
	both("an output twice", "run outputs; a1 does 0 1 2 3, written 0 0 1 2 3, commits 4, released", RuleOrder)
	both("handled again before it is durable", "run outputs; a1 does 0 0 1 2 3, written 0 1 2 3, commits 4, released", RuleOrder)
	both("a key starts behind an unhandled message", "run outputs; a1 does 2 0 1 3, written 0 1 2 3, commits 4, released", RuleOrder)
	told("an output after the release",
		"run outputs, writers 1; a1 does 0, commits 0, released, written 0; b2 accepted 0, completes 0 1 2 3", RuleFence, RuleReplay)
	both("a crash costs more outputs than one commit interval",
		"run outputs, writers 1; a1 does 0 1 2, written 0 1 2, commits 0 0-3; a killed; b2 accepted 0, completes 0 1 2 3", RuleReplay)
	both("progress claims what is handled and not durable",
		"run outputs; a1 does 0 1 2 3, written 0 1 2, commits 4, written 3, released", RuleProgress)
	both("the output of a failed attempt", "run outputs; a1 started 0, fails 0, written 0, completes 0 1 2 3", RuleConserve)
}

// TestCheckerNamesWhatIsWrong: more than one check of these histories finds the same broken rule, or their events are damaged.
func TestCheckerNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		tale   string
		kind   Kind // of the first event to change
		change func(*Event)
		want   string
	}{
		"another key":        {"a1 completes 0 1 2 3", Started, func(e *Event) { e.Key = "y" }, "a started t/0#1@0 key y: number 0: nobody"},
		"another number":     {"a1 completes 0 1 2 3", Started, func(e *Event) { e.Number = 1 }, "key x: number 1: nobody produced it"},
		"an unknown outcome": {"a1 started 0, fails 0, completes 0 1 2 3", Finished, func(e *Event) { e.Text = "gave up" }, `outcome "gave up"`},
		"an old owner goes on": {
			"b begun; a1 accepted 0; b2 accepted 0; a1 does 0; b2 completes 0 1 2 3", "", nil, "a started t/0#1@0 key x: epoch 2 owns it",
		},
		"outputs out of order": {
			"run outputs; a1 does 0 1 2 3, written 2 0 1 3, commits 4, released", "", nil,
			"its output is durable, and that of offset 0 of the key is not",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := historyOf(t, c.tale, false)
			if i := slices.IndexFunc(h.Events, func(e Event) bool { return e.Kind == c.kind }); i >= 0 {
				c.change(&h.Events[i])
			}
			if report := fmt.Sprint(check(h)); !strings.Contains(report, c.want) {
				t.Errorf("the report is\n%swant %q in it", report, c.want)
			}
		})
	}
}

func TestCheckerCounts(t *testing.T) {
	for _, c := range []struct {
		name, tale string
		want       Figures
	}{
		{
			"messages that are handled again", "a1 does 0, commits 1, does 1 2, started 3, fails 3, started 3; a killed; " +
				"b2 accepted 1, completes 1 2 3", Figures{Messages: 4, Turns: 8, Retries: 1, Again: 2, Commits: 2, HandOvers: 1},
		},
		{
			// a ends 0 and begins 1 before it knows that b has taken over and settled 1.
			"late results of a frozen owner", "a1 started 0; a paused; b2 accepted 0, does 1; a continued; a1 settles 0, does 1, " +
				"lost, released; b2 completes 0 2 3",
			Figures{Messages: 4, Turns: 6, Again: 1, Stale: 1, Commits: 1, HandOvers: 1, Losses: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := historyOf(t, c.tale, false)
			breaks(t, h, nil)
			if f := check(h).Figures; f != c.want {
				t.Errorf("figures are\n%+v, want\n%+v", f, c.want)
			}
		})
	}
	h := historyOf(t, "run crashing 0; a1 does 0 1; test crashing; a1 commits 2; test gone; a killed; "+
		"b2 accepted 0, completes 1 2 3", true)
	if n := check(h).Figures.Forgotten; n != 1 {
		t.Errorf("the service has forgotten %d commits, want 1", n)
	}
}

func TestHistoryComesBackAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	a, err := newRecorder(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	want := []Event{
		{Kind: Begun, Member: "a"},
		{Kind: Started, Member: "a", Epoch: 7, Message: Message{Place{"t", 3}, 9, "k", 2}, Attempt: 1},
		{Kind: Trying, Member: "a", Progress: commit.Progress{Frontier: 5, Ahead: []commit.Range{{From: 6, To: 8}, {From: 9, To: 10}}}},
		{Kind: Torn},
		{Kind: Ended, Member: "a", Text: "a \"b\"\nc }"},
		{Kind: Killed, Member: "b"},
	}
	for _, e := range want {
		if e.Kind == Torn {
			_, err = a.WriteString("\n{\"Kind\":\"started\",\"Member\":\"b")
		} else {
			a.write(e)
		}
	}
	b, err2 := os.ReadFile(path)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	got, rest := parse(append(b, "\n{half"...))
	for i := range got {
		got[i].At = 0
	}
	if string(rest) != "{half" || !reflect.DeepEqual(got, want) {
		t.Errorf("rest %q, events\n%+v\nwant \"{half\",\n%+v", rest, got, want)
	}
}
