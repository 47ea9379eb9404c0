package livetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// historyOf makes a history of one partition with four messages: 0 and 2 of key x, 1 and 3 of key y. The tale has sentences:
// "a1 accepted 0, does 0; a killed" is about the first ownership of member a, and then about a. "run …" sets up the history.
// The verbs are kinds of events, and some more. Progress is a frontier and ranges: "commits 1 2-3"; "0:y1" is offset 0 as
// another message. A tale that begins with a1 begins with "a1 accepted 0".
func historyOf(t *testing.T, tale string, withholds bool) *History {
	t.Helper()
	h := &History{
		Withholds: withholds, Forgets: map[Kind]time.Duration{}, Committed: map[Place]commit.Progress{{Stream: "t"}: {Frontier: 4}},
	}
	for i := range int64(4) {
		h.Produced = append(h.Produced, messageOf(i))
	}
	for sentence := range strings.SplitSeq("a begun; b begun; "+tale, "; ") {
		who, what, _ := strings.Cut(sentence, " ")
		if len(h.Events) == 2 && who == "a1" && !strings.HasPrefix(what, "told") {
			what = "accepted 0, " + what
		}
		for part := range strings.SplitSeq(what, ", ") {
			verb, args, _ := strings.Cut(part, " ")
			if who == "run" {
				setUp(t, h, verb, args)
				continue
			}
			e := Event{Member: strings.TrimRight(who, "123"), Message: Message{Place: Place{Stream: "t"}}}
			e.Epoch, _ = strconv.ParseInt(who[len(e.Member):], 10, 64)
			tell(t, h, e, verb, args)
		}
	}
	return h
}

func messageOf(i int64) Message {
	return Message{Place{Stream: "t"}, i, []string{"x", "y"}[i%2], i / 2}
}

func setUp(t *testing.T, h *History, what, args string) {
	t.Helper()
	switch what {
	case string(Crashing), string(Stopping):
		h.Forgets[Kind(what)] = time.Duration(progressOf(t, args).Frontier)
	case "keeps":
		h.Committed[Place{Stream: "t"}] = progressOf(t, args)
	case "unknown":
		h.Committed = nil
	case "stuck":
		h.Stuck = "x"
	default: // a field
		d := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %s}", what, cmp.Or(args, "true"))))
		if d.DisallowUnknownFields(); d.Decode(h) != nil {
			t.Fatalf("unknown setting %q %s", what, args)
		}
	}
}

// tell appends the events of a verb. On a service that withholds, an owner learns nothing about committed progress.
func tell(t *testing.T, h *History, e Event, verb, args string) {
	t.Helper()
	write := func(k Kind, e Event) {
		e.Kind, e.At = k, int64(len(h.Events)+1)
		h.Events = append(h.Events, e)
	}
	outcome := map[string]string{
		"settles": Settled, "does": Settled, "follows": Settled, "completes": Settled, "fails": Failed, "cancels": Cancelled, "muddles": "?",
	}[verb]
	switch k := Kind(verb); k {
	case Accepted, Trying, "told", "commits":
		told := e
		if k != Accepted || !h.Withholds {
			told.Progress = progressOf(t, args)
		}
		write(map[Kind]Kind{"told": Accepted, "commits": Trying, Accepted: k, Trying: k}[k], told)
		if k == "commits" {
			write(Stored, e)
		}
	case Stored:
		e.Count = int(progressOf(t, args).Frontier)
		write(k, e)
	case Started, Written, Lettered, "does", "settles", "fails", "cancels", "completes", "follows", "muddles":
		for arg := range strings.FieldsSeq(args) {
			offset, other, _ := strings.Cut(arg, ":")
			of := Event{Member: e.Member, Epoch: e.Epoch, Message: messageOf(progressOf(t, offset).Frontier), Count: 1}
			_, _ = fmt.Sscanf(other, "%1s%d", &of.Key, &of.Number)
			if outcome == "" {
				write(k, of)
				continue
			}
			if k == "follows" {
				of.Text = Behind
			}
			if k == "does" || k == "completes" || k == "follows" {
				write(Started, of)
			}
			of.Text = outcome
			write(Finished, of)
		}
		if k == "completes" {
			if h.Outputs {
				tell(t, h, e, string(Written), args)
			}
			tell(t, h, e, "commits", "4")
			tell(t, h, e, string(Released), "")
		}
	default:
		e.Text = args
		write(k, e)
	}
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
