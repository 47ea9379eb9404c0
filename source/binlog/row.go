package binlog

import (
	"fmt"

	"github.com/keystrand/keystrand"
)

// Row is a change of one row. Rows are immutable. A *Row is the Native of its message: see RowOf.
type Row struct {
	Table *Table
	Kind  Kind
	// Before and After have a value for each column. Before is nil for an insert, and After for a delete.
	//
	//   - nil is NULL.
	//   - int64 is an integer or a year; uint64 one of an unsigned column, or of bit.
	//   - float64 is a float or a double.
	//   - string is a text, and whatever must stay text to be exact: decimals, dates and times. The names of an enum or a set
	//     are one string, with commas between those of a set.
	//   - []byte is binary.
	//
	// Both share the values that did not change with other rows.
	Before, After []any
	// Transaction names the transaction in the log's own words, for example its GTID.
	Transaction string
	// Index is the number of the row among the wanted rows of its transaction, from 0.
	Index int

	// Set by Seal.
	key    keystrand.Key
	size   int
	sealed bool
}

// Kind is what has happened to a row.
type Kind uint8

// The kinds.
const (
	Insert Kind = iota + 1
	Update
	Delete
)

// String returns "insert", "update" or "delete".
func (k Kind) String() string {
	switch k {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "unknown kind"
}

// check returns what is wrong with the images of the row.
func (r *Row) check() error {
	switch {
	case r.Kind < Insert || r.Kind > Delete:
		return fmt.Errorf("its kind is %d", r.Kind)
	case (r.Before != nil) != (r.Kind != Insert):
		return fmt.Errorf("%v, and values before the change: %t", r.Kind, r.Before != nil)
	case (r.After != nil) != (r.Kind != Delete):
		return fmt.Errorf("%v, and values after the change: %t", r.Kind, r.After != nil)
	}
	for _, image := range [2][]any{r.Before, r.After} {
		if image != nil && len(image) != len(r.Table.Columns) {
			return fmt.Errorf("it has %d values for %d columns", len(image), len(r.Table.Columns))
		}
	}
	return nil
}

// Size returns about how many bytes of memory the row occupies. Its table, which many rows share, is not counted.
func (r *Row) Size() int {
	if r.sealed {
		return r.size
	}
	return r.measure()
}

func (r *Row) measure() int {
	const row = 192 // the struct, and what Seal adds
	n := row + len(r.Transaction)
	for _, image := range [2][]any{r.Before, r.After} {
		n += 16 * len(image) // interfaces
		for _, v := range image {
			switch v := v.(type) {
			case nil:
			case string:
				n += 16 + len(v)
			case []byte:
				n += 24 + len(v)
			default:
				n += 8
			}
		}
	}
	return n
}

// AppendValue appends the JSON form of the row to dst, as docs/binlog.md describes it, and returns the extended slice. A deleted
// row has one too: it is no tombstone. The error says why the row has no form: its values or its table are not as documented.
func (r *Row) AppendValue(dst []byte) ([]byte, error) { return appendRow(dst, r) }
