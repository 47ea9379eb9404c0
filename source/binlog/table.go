package binlog

import (
	"sync/atomic"

	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// Table is a table as it was when a row changed. It is immutable, and all rows of the table between two changes of its
// definition share it. It must not be copied once it is used in a Row.
type Table struct {
	// Database and Name are the table's names, as the log spells them.
	Database, Name string
	// Columns are in the order of the values of a row. Their names differ.
	Columns []Column
	// Keys are the keys that order rows: the primary key and every unique key that may hold for the row. Until the reader has
	// passed a change of the definition, those from before and after it.
	Keys []UniqueKey
	// Whole reports that the rows of the table have one lane, because its keys are not known: a part of one is no column, or
	// the source has not read them. A table without keys has one lane anyway.
	Whole bool

	prepared atomic.Pointer[prepared]
}

// Column is a column of a table.
type Column struct {
	Name string
	// Type is the type in the log's own words, without length: "int", "varchar", "timestamp".
	Type string
	// Unsigned is of a numeric column.
	Unsigned bool
	// Collation is the collation of a text, enum or set column. Empty: the values are bytes, or no text.
	Collation string
	// Generated reports that the database computes the values.
	Generated bool
}

// UniqueKey is the primary key or a unique key of a table.
type UniqueKey struct {
	// Name is the name of the index: "PRIMARY" for the primary key.
	Name string
	// Columns are indexes of Table.Columns.
	Columns []int
	// Prefixes has for each of Columns how much of the value is in the index: characters of a text, bytes of any other value, 0
	// for all. Nil: all of every value.
	Prefixes []int
}

// String returns "database.table", as streams and DDL.Tables have it: a dot or a backslash in the name of the database has a
// backslash before it.
func (t *Table) String() string { return names.Join(t.Database, t.Name) }

// prepared is what a table's rows need again and again. It is immutable.
type prepared struct {
	lanes lanes
	form  form
}

// prepare returns what the rows of the table need. Goroutines that call it at the same time may each compute it.
func (t *Table) prepare() *prepared {
	if p := t.prepared.Load(); p != nil {
		return p
	}
	p := &prepared{lanes: lanesOf(t), form: formOf(t)}
	t.prepared.Store(p)
	return p
}
