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
			all[place] = acked.progress(log, p.offset)
		}
		if err != nil {
			return nil, fmt.Errorf("%+v: %w", place, err)
		}
	}
	return all, nil
}

// position locates a message in the log of a partition.
func position(ledger, entry, inBatch int64) int64 { return ledger<<36 | entry<<12 | inBatch }

// cursor is what a broker keeps of a subscription: pairs of positions, of which each acknowledges all behind the first up to the
// second. Entries of a ledger begin at 0; the broker names -1, before them, too.
type cursor []int64

var twoNumbers = regexp.MustCompile(`(\d+):(-?\d+)`)

// parseCursor parses "1:2" and "[(1:3..1:5],(2:-1..2:0]]".
func parseCursor(upTo, above string) (cursor, error) {
	c := cursor{math.MinInt64}
	for _, words := range twoNumbers.FindAllStringSubmatch(upTo+" "+above, -1) {
		ledger, _ := strconv.ParseInt(words[1], 10, 64)
		n, _ := strconv.ParseInt(words[2], 10, 64)
		c = append(c, position(ledger, n+1, 0)-1) // the last of an entry
	}
	if len(c)%2 != 0 {
		return nil, fmt.Errorf("acknowledged entries %q %q: not of the form 1:2 [(1:2..1:3]]", upTo, above)
	}
	return c, nil
}

func (c cursor) has(position int64) bool {
	has := false
	for r := range slices.Chunk(c, 2) {
		has = has || position > r[0] && position <= r[1]
	}
	return has
}

// progress returns a cursor in offsets. A batch that is acknowledged in part counts as not acknowledged.
func (c cursor) progress(log []int64, offset func(index int, position int64) int64) (p commit.Progress) {
	gap := false
	for i, position := range log {
		at := offset(i, position)
		switch {
		case !c.has(position):
			gap = true
		case gap:
			p.Ahead = append(p.Ahead, commit.Range{From: at, To: at + 1})
		default:
			p.Frontier = at + 1
		}
	}
	return p
}

func TestCursorInOffsets(t *testing.T) {
	log := []int64{
		position(3, 0, 0), position(3, 0, 1), position(3, 1, 0), position(3, 2, 0), position(3, 2, 1), position(5, 0, 0), position(5, 1, 0),
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
		p := cursor.progress(log, func(i int, _ int64) int64 { return int64(10 + i) })
		if got := fmt.Sprint(p.Frontier, " ", p.Ahead); err != nil || got != c.want {
			t.Errorf("%s %s is %s, %v, want %s", c.upTo, c.above, got, err, c.want)
		}
	}
	if _, err := parseCursor("3:0", "[(3:1...]"); err == nil {
		t.Error("no error of ranges that cannot be parsed")
	}
}
