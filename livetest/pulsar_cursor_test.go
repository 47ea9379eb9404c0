//go:build unix

package livetest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// progress is that of the store, or else of the broker's cursors.
func (p *pulsarCluster) progress(ctx context.Context, stream, group string) (map[int32]*commit.Progress, error) {
	if p.store != nil {
		return p.store.progress(stream), nil
	}
	all := map[int32]*commit.Progress{}
	for place, log := range p.logs {
		if place.Stream != stream {
			continue
		}
		c, err := p.cursor(ctx, place.topic(), group)
		if err != nil {
			return nil, fmt.Errorf("%+v: %w", place, err)
		}
		if c != nil {
			all[place.Partition] = c.progress(log)
		}
	}
	return all, nil
}

// cursor returns the cursor of a subscription, nil if there is none. A broker that has just started may not find the topic.
func (p *pulsarCluster) cursor(ctx context.Context, topic, subscription string) (*cursor, error) {
	var stats struct {
		Cursors map[string]struct{ MarkDeletePosition, IndividuallyDeletedMessages string }
	}
	for tries := 1; ; tries++ {
		err := p.admin.Do(ctx, http.MethodGet, pulsartest.Path(topic)+"/internalStats", nil, &stats)
		if err == nil {
			break
		}
		if tries == 20 || pulsartest.IsFault(err) { // Do has tried these again
			return nil, err
		}
		time.Sleep(250 * time.Millisecond) // real time: the broker loads the topic
	}
	found, ok := stats.Cursors[subscription]
	if !ok {
		return nil, nil //nolint:nilnil // no member has read it
	}
	return parseCursor(found.MarkDeletePosition, found.IndividuallyDeletedMessages)
}

// entry is a position in the log of a partition. Entries of a ledger begin at 0; -1 is before them.
type entry int64

func entryOf(ledger, n int64) entry { return entry(ledger<<32 + n) }

// cursor is what a broker keeps of a subscription: all up to an entry is acknowledged, and ranges above it.
type cursor struct {
	upTo  entry
	above []entry // pairs: a range begins behind the first and ends with the second
}

// parseCursor parses "1:2" and "[(1:3..1:5],(2:-1..2:0]]".
func parseCursor(upTo, above string) (*cursor, error) {
	words := strings.FieldsFunc(upTo+" "+above, func(c rune) bool { return !strings.ContainsRune("-0123456789", c) })
	var all []entry
	for pair := range slices.Chunk(words, 2) {
		ledger, err := strconv.ParseInt(pair[0], 10, 64)
		n, err2 := strconv.ParseInt(pair[len(pair)-1], 10, 64)
		if err != nil || err2 != nil || len(words)%4 != 2 {
			return nil, fmt.Errorf("acknowledged entries %q %q: not of the form 1:2 [(1:2..1:3]]", upTo, above)
		}
		all = append(all, entryOf(ledger, n))
	}
	return &cursor{all[0], all[1:]}, nil
}

func (c *cursor) has(e entry) bool {
	has := e <= c.upTo
	for r := range slices.Chunk(c.above, 2) {
		has = has || e > r[0] && e <= r[1]
	}
	return has
}

// progress returns a cursor in offsets. A batch that is acknowledged in part counts as not acknowledged.
func (c *cursor) progress(log []position) *commit.Progress {
	p := &commit.Progress{}
	i := 0
	for ; i < len(log) && c.has(log[i].entry); i++ {
		p.Frontier = log[i].offset + 1
	}
	for ; i < len(log); i++ {
		if c.has(log[i].entry) {
			p.Ahead = append(p.Ahead, commit.Range{From: log[i].offset, To: log[i].offset + 1})
		}
	}
	return p
}

func TestCursorInOffsets(t *testing.T) {
	var log []position
	for i, e := range [][2]int64{{3, 0}, {3, 0}, {3, 1}, {3, 2}, {3, 2}, {5, 0}, {5, 1}} {
		log = append(log, position{entryOf(e[0], e[1]), int64(10 + i)})
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
		if err != nil {
			t.Fatal(err)
		}
		p := cursor.progress(log)
		if got := fmt.Sprint(p.Frontier, " ", p.Ahead); got != c.want {
			t.Errorf("%s %s is %s, want %s", c.upTo, c.above, got, c.want)
		}
	}
	if _, err := parseCursor("3:0", "[(3:1...]"); err == nil {
		t.Error("no error of ranges that cannot be parsed")
	}
}
