package sql

import "strings"

// maxRanges is how many conditions of a statement are joined with OR: planning takes longer for each.
const maxRanges = 64

// ranges returns "(hash = ? AND record_offset = ? OR …)" for n pairs, with this operator.
func ranges(n int, operator string) string {
	one := "hash = ? AND record_offset " + operator + " ?"
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}
