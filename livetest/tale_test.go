package livetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// historyOf makes a history of one partition with four messages: 0 and 2 of key x, 1 and 3 of key y. The tale has sentences:
// "a1 accepted 0, does 0; a killed" is about the first ownership of member a, and then about a. "run …" sets fields of the history,
// or the progress that the service keeps. The verbs are kinds of events, and some more. Progress is a frontier and ranges: "commits
// 1 2-3"; "0:y1" is offset 0 as another message. A tale that begins with a1 begins with "a1 accepted 0".
func historyOf(t *testing.T, tale string, withholds bool) *History {
	t.Helper()
	h := &History{Withholds: withholds, Committed: map[Place]commit.Progress{{Stream: "t"}: {Frontier: 4}}}
	for i := range int64(4) {
		h.Produced = append(h.Produced, messageOf(i))
	}
	completes := "does $1, commits 4, released"
	if strings.Contains(tale, "outputs") {
		completes = "does $1, written $1, commits 4, released"
	}
	tale = regexp.MustCompile("completes ([^,;]*)").ReplaceAllString(tale, completes)
	tale = regexp.MustCompile("commits ([^,;]*)").ReplaceAllString(tale, "trying $1, stored")
	for sentence := range strings.SplitSeq("a begun; b begun; "+tale, "; ") {
		who, what, _ := strings.Cut(sentence, " ")
		if len(h.Events) == 2 && who == "a1" && !strings.HasPrefix(what, "told") {
			what = "accepted 0, " + what
		}
		for part := range strings.SplitSeq(what, ", ") {
			verb, args, _ := strings.Cut(part, " ")
			e := Event{Member: strings.TrimRight(who, "123"), Message: Message{Place: Place{Stream: "t"}}}
			e.Epoch, _ = strconv.ParseInt(who[len(e.Member):], 10, 64)
			switch {
			case part == "keeps "+args:
				h.Committed[e.Place] = progressOf(t, args)
			case who == "run":
				d := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %s}", verb, cmp.Or(args, "true"))))
				if d.DisallowUnknownFields(); d.Decode(h) != nil {
					t.Fatalf("unknown setting %q %s", verb, args)
				}
			default:
				tell(t, h, e, verb, args)
			}
		}
	}
	return h
}

func messageOf(i int64) Message {
	return Message{Place{Stream: "t"}, i, []string{"x", "y"}[i%2], i / 2}
}

// acts has the events of the verbs about messages, for each of them.
var acts = map[string][]Event{
	"started":  {{Kind: Started}},
	"written":  {{Kind: Written, Count: 1}},
	"lettered": {{Kind: Lettered}},
	"settles":  {{Kind: Finished, Text: Settled}},
	"fails":    {{Kind: Finished, Text: Failed}},
	"cancels":  {{Kind: Finished, Text: Cancelled}},
	"muddles":  {{Kind: Finished, Text: "?"}},
	"does":     {{Kind: Started}, {Kind: Finished, Text: Settled}},
	"follows":  {{Kind: Started, Text: Behind}, {Kind: Finished, Text: Settled}},
}

// tell appends the events of a verb. On a service that withholds, an owner learns nothing about committed progress.
func tell(t *testing.T, h *History, e Event, verb, args string) {
	t.Helper()
	write := func(e Event) {
		e.At = int64(len(h.Events) + 1)
		h.Events = append(h.Events, e)
	}
	for arg := range strings.FieldsSeq(args) {
		offset, other, _ := strings.Cut(arg, ":")
		for _, act := range acts[verb] {
			act.Member, act.Epoch, act.Message = e.Member, e.Epoch, messageOf(progressOf(t, offset).Frontier)
			_, _ = fmt.Sscanf(other, "%1s%d", &act.Key, &act.Number)
			write(act)
		}
	}
	switch e.Kind = Kind(verb); {
	case acts[verb] != nil:
		return
	case verb == "told":
		e.Kind, e.Progress = Accepted, progressOf(t, args)
	case e.Kind == Trying, e.Kind == Accepted && !h.Withholds:
		e.Progress = progressOf(t, args)
	case e.Kind == Stored:
		e.Count = int(progressOf(t, args).Frontier)
	default:
		e.Text = args
	}
	write(e)
}

func progressOf(t *testing.T, text string) (p commit.Progress) {
	t.Helper()
	frontier, ahead, _ := strings.Cut(text, " ")
	_, err := fmt.Sscan(cmp.Or(frontier, "0"), &p.Frontier)
	for w := range strings.FieldsSeq(ahead) {
		var r commit.Range
		if err == nil {
			_, err = fmt.Sscanf(w, "%d-%d", &r.From, &r.To)
		}
		p.Ahead = append(p.Ahead, r)
	}
	if err != nil {
		t.Fatalf("progress %q: %v", text, err)
	}
	return p
}

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
				if got := strings.Join(slices.Sorted(maps.Keys(report.Broken)), ", "); got != rules {
					t.Errorf("it breaks %q, want %q\n%v", got, rules, report)
				}
				if all := fmt.Sprintf("%v%+v", report, report.Figures); !strings.Contains(all, text) {
					t.Errorf("the report lacks %q:\n%s", text, all)
				}
			})
		}
	}
}
