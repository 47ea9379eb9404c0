//go:build unix

package livetest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// progress is that of the store, or else of the broker's cursors.
func (p *pulsarCluster) progress(ctx context.Context, stream, group string) (map[Place]commit.Progress, error) {
	if p.store != nil {
		return p.store.progress(), nil
	}
	all := map[Place]commit.Progress{}
	for place, log := range p.logs {
		if place.Stream != stream {
			continue
		}
		var stats struct {
			Cursors map[string]struct{ MarkDeletePosition, IndividuallyDeletedMessages string }
		}
		err := p.admin.Do(ctx, http.MethodGet, pulsartest.Path(place.topic())+"/internalStats", nil, &stats)
		if c, found := stats.Cursors[group]; err == nil && found {
			var acked cursor
			acked, err = parseCursor(c.MarkDeletePosition, c.IndividuallyDeletedMessages)
			all[place] = acked.progress(log)
		}
		if err != nil {
			return nil, fmt.Errorf("%+v: %w", place, err)
		}
	}
	return all, nil
}

// entry is a position in the log of a partition. Entries of a ledger begin at 0; -1 is before them.
type entry int64

func entryOf(ledger, n int64) entry { return entry(ledger<<32 + n) }

// cursor is what a broker keeps of a subscription: pairs, of which each acknowledges all behind the first up to the second.
type cursor []entry

var position = regexp.MustCompile(`(\d+):(-?\d+)`)

// parseCursor parses "1:2" and "[(1:3..1:5],(2:-1..2:0]]".
func parseCursor(upTo, above string) (cursor, error) {
	c := cursor{math.MinInt64}
	for _, words := range position.FindAllStringSubmatch(upTo+" "+above, -1) {
		ledger, _ := strconv.ParseInt(words[1], 10, 64)
		n, _ := strconv.ParseInt(words[2], 10, 64)
		c = append(c, entryOf(ledger, n))
	}
	if len(c)%2 != 0 {
		return nil, fmt.Errorf("acknowledged entries %q %q: not of the form 1:2 [(1:2..1:3]]", upTo, above)
	}
	return c, nil
}

func (c cursor) has(e entry) bool {
	has := false
	for r := range slices.Chunk(c, 2) {
		has = has || e > r[0] && e <= r[1]
	}
	return has
}

// progress returns a cursor in offsets. A batch that is acknowledged in part counts as not acknowledged.
func (c cursor) progress(log []produced) (p commit.Progress) {
	gap := false
	for _, m := range log {
		switch {
		case !c.has(m.entry):
			gap = true
		case gap:
			p.Ahead = append(p.Ahead, commit.Range{From: m.offset, To: m.offset + 1})
		default:
			p.Frontier = m.offset + 1
		}
	}
	return p
}

func TestCursorInOffsets(t *testing.T) {
	var log []produced
	for i, e := range [][2]int64{{3, 0}, {3, 0}, {3, 1}, {3, 2}, {3, 2}, {5, 0}, {5, 1}} {
		log = append(log, produced{entryOf(e[0], e[1]), int64(10 + i)})
	}
	for _, c := range []struct{ upTo, above, want string }{
		{"3:-1", "[]", "0 []"},
		{"3:0", "[]", "12 []"},
		{"3:0", "[(3:1..3:2]]", "12 [{13 14} {14 15}]"},
		{"3:0", "[(3:1..3:2],(5:0..5:1]]", "12 [{13 14} {14 15} {16 17}]"},
		{"3:-1", "[(3:0..3:1],(5:-1..5:0]]", "0 [{12 13} {15 16}]"},
		{"5:-1", "[]", "15 []"},
		{"5:1", "[]", "17 []"},
	} {
		cursor, err := parseCursor(c.upTo, c.above)
		p := cursor.progress(log)
		if got := fmt.Sprint(p.Frontier, " ", p.Ahead); err != nil || got != c.want {
			t.Errorf("%s %s is %s, %v, want %s", c.upTo, c.above, got, err, c.want)
		}
	}
	if _, err := parseCursor("3:0", "[(3:1...]"); err == nil {
		t.Error("no error of ranges that cannot be parsed")
	}
}
