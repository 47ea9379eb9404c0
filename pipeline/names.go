package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/source"
)

// mostRanges is how many ranges of partitions a log line names.
const mostRanges = 10

// rangesOf names partitions for the log, such as "orders/0-199, payments/3".
func rangesOf(ids []source.ID) string {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b source.ID) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Partition, b.Partition))
	})
	var b strings.Builder
	for ranges := 0; len(ids) > 0; ranges++ {
		if ranges == mostRanges {
			fmt.Fprintf(&b, ", and %d more", len(ids))
			break
		}
		n := 1
		for n < len(ids) && ids[n].Stream == ids[0].Stream && ids[n].Partition <= ids[n-1].Partition+1 {
			n++
		}
		if ranges > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s/%d", ids[0].Stream, ids[0].Partition)
		if last := ids[n-1].Partition; last != ids[0].Partition {
			fmt.Fprintf(&b, "-%d", last)
		}
		ids = ids[n:]
	}
	return b.String()
}

// nameOf returns the name of a constant, of which there are as many as names.
func nameOf[T ~int32 | ~uint8](constant T, names ...string) string {
	if constant < 0 || int(constant) >= len(names) {
		return unknown
	}
	return names[constant]
}

// unknown is the name of a constant that there is not.
const unknown = "unknown"
