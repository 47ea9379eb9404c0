package binlog

// Table is a table as it was when a row changed. It is immutable, and all rows of the table between two changes of its
// definition share it.
type Table struct {
	// Database and Name are the table's names, as the log spells them.
	Database, Name string
	// Columns are in the order of the values of a row.
	Columns []Column
	// Keys are the keys that order rows: the primary key and every unique key that may hold for the row. Until the reader has
	// passed a change of the definition, those from before and after it.
	Keys []UniqueKey
	// Whole reports that the rows of the table have one lane: it has no key, or one whose columns are not known.
	Whole bool
}

// Column is a column of a table.
type Column struct {
	Name string
	// Type is the type in the log's own words, without length: "int", "varchar", "timestamp".
	Type string
	// Unsigned is of a numeric column.
	Unsigned bool
	// Collation is the collation of a text column. Empty: the values are bytes, or no text.
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
}
