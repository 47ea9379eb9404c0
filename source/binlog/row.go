package binlog

// Kind is what has happened to a row.
type Kind uint8

// The kinds.
const (
	Insert Kind = iota + 1
	Update
	Delete
)

// Row is a change of one row. Rows are immutable.
type Row struct {
	Table *Table
	Kind  Kind
	// Before and After have a value for each column: nil for NULL, int64, uint64, float64, string or []byte. Before is nil for
	// an insert, and After for a delete.
	Before, After []any
	// Transaction names the transaction in the log's own words, for example its GTID.
	Transaction string
	// Index is the number of the row among the wanted rows of its transaction, from 0.
	Index int
}
