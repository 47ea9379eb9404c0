package commit

import "slices"

// appendRange appends r to rs, or extends the last range if the two touch or overlap. r must not begin before the last
// range does.
func appendRange(rs []Range, r Range) []Range {
	if n := len(rs); n > 0 && r.From <= rs[n-1].To {
		rs[n-1].To = max(rs[n-1].To, r.To)
		return rs
	}
	return append(rs, r)
}

// wellFormed reports whether rs is as [Progress] requires: at or above the frontier, ascending, neither empty nor
// touching.
func wellFormed(frontier int64, rs []Range) bool {
	for i, r := range rs {
		if r.From >= r.To || r.From < frontier || (i > 0 && r.From <= rs[i-1].To) {
			return false
		}
	}
	return true
}

// normalise returns rs if it is well formed. Otherwise it returns a sorted, merged copy without the offsets below the
// frontier.
func normalise(frontier int64, rs []Range) []Range {
	if wellFormed(frontier, rs) {
		return rs
	}
	sorted := slices.SortedFunc(slices.Values(rs), func(a, b Range) int {
		switch {
		case a.From < b.From:
			return -1
		case a.From > b.From:
			return 1
		}
		return 0
	})
	var out []Range
	for _, r := range sorted {
		r.From = max(r.From, frontier)
		if r.From < r.To {
			out = appendRange(out, r)
		}
	}
	return out
}

// covers reports whether all offsets of some are in rs. Both are well formed.
func covers(rs, some []Range) bool {
	for _, s := range some {
		for len(rs) > 0 && rs[0].To < s.To {
			rs = rs[1:]
		}
		if len(rs) == 0 || rs[0].From > s.From {
			return false
		}
	}
	return true
}
