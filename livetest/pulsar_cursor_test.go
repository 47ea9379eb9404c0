//go:build unix

package livetest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// cursor returns where a subscription of a topic without partitions stands, nil if there is none. A broker that was
// restarted may not listen yet, or not find the topic.
func (p *pulsarCluster) cursor(ctx context.Context, topic, subscription string) (*cursor, error) {
	var stats struct {
		Cursors map[string]struct {
			MarkDeletePosition          string
			IndividuallyDeletedMessages string
		}
	}
	for tries := 1; ; tries++ {
		err := p.admin.Do(ctx, http.MethodGet, pulsartest.Path(topic)+"/internalStats", nil, &stats)
		if err == nil {
			break
		}
		if tries == 20 || pulsartest.IsFault(err) { // Do has had its patience with that
			return nil, err
		}
		time.Sleep(250 * time.Millisecond) // real time: the broker loads the topic
	}
	found, ok := stats.Cursors[subscription]
	if !ok {
		return nil, nil //nolint:nilnil // nobody has read it
	}
	return parseCursor(found.MarkDeletePosition, found.IndividuallyDeletedMessages)
}

// entryID is a position in the log of a partition.
type entryID struct{ ledger, entry int64 }

func (e entryID) compare(f entryID) int {
	return cmp.Or(cmp.Compare(e.ledger, f.ledger), cmp.Compare(e.entry, f.entry))
}

// cursor is what a broker knows of a subscription: what is acknowledged up to an entry, and what above it.
type cursor struct {
	upTo  entryID
	above [][2]entryID // the first is not in it, the last is
}

var rangeOfEntries = regexp.MustCompile(`\((-?\d+):(-?\d+)\.\.(-?\d+):(-?\d+)\]`)

func parseCursor(upTo, above string) (*cursor, error) {
	c := &cursor{}
	if _, err := fmt.Sscanf(upTo, "%d:%d", &c.upTo.ledger, &c.upTo.entry); err != nil {
		return nil, fmt.Errorf("mark-delete position %q: %w", upTo, err)
	}
	for _, m := range rangeOfEntries.FindAllStringSubmatch(above, -1) {
		var n [4]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(m[i+1], 10, 64)
		}
		c.above = append(c.above, [2]entryID{{n[0], n[1]}, {n[2], n[3]}})
	}
	if len(c.above) == 0 && len(above) > len("[]") {
		return nil, fmt.Errorf("ranges of acknowledged entries %q: not of the form [(1:2..1:3]]", above)
	}
	return c, nil
}

func (c *cursor) has(e entryID) bool {
	if e.compare(c.upTo) <= 0 {
		return true
	}
	for _, r := range c.above {
		if e.compare(r[0]) > 0 && e.compare(r[1]) <= 0 {
			return true
		}
	}
	return false
}

// progress says in offsets what a cursor says in entries. A batch that is acknowledged in part counts as not acknowledged.
func (c *cursor) progress(log []stored) *commit.Progress {
	p := &commit.Progress{}
	i := 0
	for ; i < len(log) && c.has(entryID{log[i].ledger, log[i].entry}); i++ {
		p.Frontier = log[i].offset + 1
	}
	open := false
	for ; i < len(log); i++ {
		at := log[i].offset
		switch has := c.has(entryID{log[i].ledger, log[i].entry}); {
		case has && open:
			p.Ahead[len(p.Ahead)-1].To = at + 1
		case has:
			p.Ahead = append(p.Ahead, commit.Range{From: at, To: at + 1})
			fallthrough
		default:
			open = has
		}
	}
	return p
}

func TestCursorInOffsets(t *testing.T) {
	log := []stored{{3, 0, 10}, {3, 0, 11}, {3, 1, 12}, {3, 2, 13}, {3, 2, 14}, {5, 0, 15}, {5, 1, 16}}
	for _, c := range []struct{ upTo, above, want string }{
		{"3:-1", "[]", "0 []"},
		{"3:0", "[]", "12 []"},
		{"3:0", "[(3:1..3:2]]", "12 [{13 15}]"},
		{"3:0", "[(3:1..3:2],(5:0..5:1]]", "12 [{13 15} {16 17}]"},
		{"3:-1", "[(3:0..3:1],(5:-1..5:0]]", "0 [{12 13} {15 16}]"},
		{"5:-1", "[]", "15 []"},
		{"5:1", "[]", "17 []"},
	} {
		cursor, err := parseCursor(c.upTo, c.above)
		if err != nil {
			t.Fatal(err)
		}
		p := cursor.progress(log)
		if got := fmt.Sprint(p.Frontier, " ", p.Ahead); got != c.want {
			t.Errorf("%s %s is %s, want %s", c.upTo, c.above, got, c.want)
		}
	}
	if _, err := parseCursor("3:0", "[(3:1...]"); err == nil {
		t.Error("no error of ranges that cannot be read")
	}
}
