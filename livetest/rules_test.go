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
		row := append(strings.Split(line, "|"), "", "")
		for i, cell := range row {
			row[i] = strings.TrimSpace(cell)
		}
		service, name, tale, rules, text := row[0], row[1], row[2], row[3], row[4]
		for _, withholds := range []bool{false, true} {
			if service == map[bool]string{false: "withheld", true: "told"}[withholds] {
				continue
			}
			t.Run(fmt.Sprintf("%s/withholds=%v", name, withholds), func(t *testing.T) {
				report := check(historyOf(t, tale, withholds))
				var broken []string
				for rule := range report.Broken {
					broken = append(broken, string(rule))
				}
				slices.Sort(broken)
				if got := strings.Join(broken, ", "); got != rules {
					t.Errorf("it breaks %q, want %q\n%v", got, rules, report)
				}
				if all := fmt.Sprintf("%v%+v", report, report.Figures); !strings.Contains(all, text) {
					t.Errorf("the report lacks %q:\n%s", text, all)
				}
			})
		}
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
		{Kind: Started, Member: "a", Epoch: 7, Message: Message{Place{"t", 3}, 9, "k", 2}},
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
