package pipeline

import (
	"testing"

	"github.com/keystrand/keystrand/source"
)

func TestRangesOfPartitions(t *testing.T) {
	id := func(stream string, numbers ...int32) (ids []source.ID) {
		for _, n := range numbers {
			ids = append(ids, source.ID{Stream: stream, Partition: n, Epoch: 1})
		}
		return ids
	}
	for _, c := range []struct {
		ids  []source.ID
		want string
	}{
		{nil, ""},
		{id("a", 3), "a/3"},
		{id("a", 2, 0, 1), "a/0-2"},
		{id("a", 5, 0, 1, 7), "a/0-1, a/5, a/7"},
		{id("a", 1, 1, 2), "a/1-2"}, // of two epochs
		{append(id("b", 0, 1), id("a", 0, 1)...), "a/0-1, b/0-1"},
		{id("a", 0, 2, 4, 6, 8, 10, 12, 14, 16, 18), "a/0, a/2, a/4, a/6, a/8, a/10, a/12, a/14, a/16, a/18"},
		{id("a", 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 23), "a/0, a/2, a/4, a/6, a/8, a/10, a/12, a/14, a/16, a/18, and 3 more"},
	} {
		if got := rangesOf(c.ids); got != c.want {
			t.Errorf("rangesOf(%v) = %q, want %q", c.ids, got, c.want)
		}
	}
}
