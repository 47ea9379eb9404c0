// Package nearest finds the name that a user may have meant.
package nearest

import "strings"

// Name returns the name that a user may have meant: the one with the fewest changed letters, at most a third of them.
// A different case, and '.', '_' or '-' in place of each other, do not count. It is empty if no name is near.
func Name(name string, names []string) string {
	same := strings.NewReplacer("_", "-", ".", "-")
	fold := func(s string) string { return same.Replace(strings.ToLower(s)) }
	best, least := "", max(1, len(name)/3)+1
	for _, n := range names {
		if d := distance(fold(name), fold(n), least); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance returns how many letters must be added, removed, replaced or swapped with the next one to turn a into b; limit if
// that many or more.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
