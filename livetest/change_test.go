//go:build unix

package livetest

import (
	"fmt"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

// change is a row or a statement of a binlog, as the log itself tells it.
type change struct {
	Message                // Key names it and has its content: see nameOfRow
	statement     string   // of a statement: its text
	before, after image    // of a row
	lanes         []string // of a row: the unique values that it has had and has now

	becomes map[string]int // of a table with another name before: the rows that it has then, once content.apply knows
}

// image has the values of a row by column, as text; NULL is absent.
type image map[string]string

// nameOfRow names a row by its place in a transaction, and by all of its values. So two rows with one name are the same row with
// the same values, and a history that has the names needs no values.
func nameOfRow(transaction string, index int, kind string, columns []string, before, after []any) string {
	return fmt.Sprintf("%s#%d %s %s -> %s", transaction, index, kind, textOf(columns, before), textOf(columns, after))
}

func nameOfStatement(transaction, query string) string { return transaction + " " + query }

func textOf(columns []string, values []any) string {
	var b strings.Builder
	for i, v := range values {
		fmt.Fprintf(&b, "%s=%v ", columns[i], v)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// nameOfChange returns the name of a message from a binlog.
func nameOfChange(m *keystrand.Message) string {
	if d := must(binlog.DDLOf(m)); d != nil {
		return nameOfStatement(d.Transaction, d.Query)
	}
	r := must(binlog.RowOf(m))
	var columns []string
	for i := range r.Table.Columns {
		columns = append(columns, r.Table.Columns[i].Name)
	}
	return nameOfRow(r.Transaction, r.Index, r.Kind.String(), columns, r.Before, r.After)
}
