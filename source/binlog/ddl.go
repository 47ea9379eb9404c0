package binlog

// DDL is a statement that changes the definition of tables. It is a message of every wanted table that it concerns, and runs
// alone there: after all earlier rows of the table and before all later ones. A *DDL is the Native of its message: see DDLOf.
type DDL struct {
	// Database is the default database of the statement.
	Database string
	// Query is the text of the statement.
	Query string
	// Tables are the tables that the statement names, in its order, as Table.String writes them. "database.*" is all tables of a
	// database. It is nil if the statement may concern any table.
	Tables []string
	// Apply reports that this message is the one at which to run the statement: the one of the first wanted table in Tables. All
	// other tables of the statement have settled what comes before it by then, and go on when it is settled here. Their
	// messages have false. All messages have false, and do not wait, if the statement does not name its tables one by one: DROP
	// DATABASE, and statements that cannot be read.
	Apply bool
	// Transaction names the transaction in the log's own words.
	Transaction string
}

// Size returns about how many bytes of memory the statement occupies.
func (d *DDL) Size() int {
	n := 96 + len(d.Database) + len(d.Query) + len(d.Transaction)
	for _, t := range d.Tables {
		n += 16 + len(t)
	}
	return n
}

// AppendValue appends the JSON form of the statement to dst, as docs/binlog.md describes it, and returns the extended slice.
func (d *DDL) AppendValue(dst []byte) ([]byte, error) { return appendDDL(dst, d), nil }
