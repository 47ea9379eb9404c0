package livetest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// parse makes a history of one partition with four messages: 0 and 2 of key x, 1 and 3 of key y. The tale has sentences:
// "a1 accepted 0, does 0; a killed" is about the first ownership of member a, and then about a. "run …" sets up the history.
// The verbs are kinds of events, and some more. Progress is a frontier and ranges: "commits 1 2-3". A tale that begins with a1
// begins with "a1 accepted 0".
func parse(t *testing.T, tale string, withholds bool) *History {
	t.Helper()
	h := &History{Withholds: withholds, Committed: map[Place]commit.Progress{{Stream: "t"}: {Frontier: 4}}}
	for i := range int64(4) {
		h.Produced = append(h.Produced, Message{Place: Place{Stream: "t"}, Offset: i, Key: []string{"x", "y"}[i%2], Number: i / 2})
	}
	for sentence := range strings.SplitSeq("a begun; b begun; "+tale, "; ") {
		if len(h.Events) == 2 && strings.HasPrefix(sentence, "a1 ") && !strings.HasPrefix(sentence, "a1 told") {
			tell(t, h, Event{Member: "a", ID: source.ID{Stream: "t", Epoch: 1}}, string(Accepted), "0")
		}
		who, what, _ := strings.Cut(sentence, " ")
		for part := range strings.SplitSeq(what, ", ") {
			verb, args, _ := strings.Cut(part, " ")
			if who == "run" {
				setUp(t, h, verb, args)
				continue
			}
			member := strings.TrimRight(who, "123")
			epoch, _ := strconv.ParseInt(who[len(member):], 10, 64)
			tell(t, h, Event{Member: member, ID: source.ID{Stream: "t", Epoch: epoch}}, verb, args)
		}
	}
	return h
}

func setUp(t *testing.T, h *History, what, args string) {
	t.Helper()
	p := progressOf(t, args)
	switch what {
	case "orderly":
		h.Orderly = true
	case "outputs":
		h.Outputs = true
	case "letters":
		h.Letters = true
	case "stuck":
		h.Stuck = "x"
	case "torn":
		h.Torn = 1
	case "workers":
		h.Workers = int(p.Frontier)
	case "writers":
		h.Writers = int(p.Frontier)
	case string(Crashing), string(Stopping):
		h.Forgets = append(h.Forgets, Allowance{Kind(what), time.Duration(p.Frontier), "new"})
	case "keeps":
		h.Committed[Place{Stream: "t"}] = p
	case "unknown":
		h.Committed = nil
	default:
		t.Fatalf("unknown setting %q", what)
	}
}

// tell appends the events of a verb. On a service that withholds, an owner learns nothing about committed progress.
func tell(t *testing.T, h *History, e Event, verb, args string) {
	t.Helper()
	write := func(k Kind) {
		e.Kind, e.At = k, int64(len(h.Events)+1)
		h.Events = append(h.Events, e)
	}
	outcome := map[string]string{"does": Settled, "settles": Settled, "fails": Failed, "cancels": Cancelled, "completes": Settled}[verb]
	switch k := Kind(verb); k {
	case Accepted, Trying, "told", "commits":
		if k != Accepted || !h.Withholds {
			e.Progress = progressOf(t, args)
		}
		write(map[Kind]Kind{"told": Accepted, "commits": Trying, Accepted: k, Trying: k}[k])
		if e.Progress = (commit.Progress{}); k == "commits" {
			write(Stored)
		}
	case Stored:
		e.Number = progressOf(t, args).Frontier
		write(k)
	case Started, Written, Lettered, "does", "settles", "fails", "cancels", "completes":
		for arg := range strings.FieldsSeq(args) {
			n := progressOf(t, arg).Frontier
			e.Offset, e.Key, e.Number, e.Text = n, []string{"x", "y"}[n%2], n/2, ""
			if k == Written {
				e.Number = 1
			}
			if outcome == "" {
				write(k)
				continue
			}
			if k == "does" || k == "completes" {
				write(Started)
			}
			e.Text = outcome
			write(Finished)
		}
		if e = (Event{Member: e.Member, ID: e.ID}); k == "completes" {
			if h.Outputs {
				tell(t, h, e, string(Written), args)
			}
			tell(t, h, e, "commits", "4")
			tell(t, h, e, string(Released), "")
		}
	default:
		e.Text = args
		write(k)
	}
}

func progressOf(t *testing.T, text string) (p commit.Progress) {
	t.Helper()
	for i, w := range strings.Fields(text) {
		var err error
		if i == 0 {
			_, err = fmt.Sscan(w, &p.Frontier)
		} else {
			var r commit.Range
			_, err = fmt.Sscanf(w, "%d-%d", &r.From, &r.To)
			p.Ahead = append(p.Ahead, r)
		}
		if err != nil {
			t.Fatalf("progress %q: %v", text, err)
		}
	}
	return p
}

// breaks checks that a history breaks these rules and no others.
func breaks(t *testing.T, h *History, rules []Rule) {
	t.Helper()
	report := Check(h)
	want := slices.Sorted(slices.Values(rules))
	if broken := slices.Sorted(maps.Keys(report.Counts)); !slices.Equal(broken, want) {
		t.Errorf("it breaks\n%v\nwant %q", report, want)
	}
}
