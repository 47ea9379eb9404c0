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
	table, err := os.ReadFile("testdata/tales.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.HasPrefix(line, "#") || line == "\n" {
			continue
		}
		row := append(strings.Split(strings.TrimSpace(line), " | "), "")
		service, name, tale := row[0], row[1], row[2]
		for _, withholds := range []bool{false, true} {
			if service == map[bool]string{false: "withheld", true: "told"}[withholds] {
				continue
			}
			t.Run(fmt.Sprintf("%s/withholds=%v", name, withholds), func(t *testing.T) {
				breaks(t, historyOf(t, tale, withholds), row[3])
			})
		}
	}
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
			breaks(t, h, "")
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
