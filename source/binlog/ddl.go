package binlog

// DDL is a statement that changes the definition of tables. It is a message of every table that it concerns, and runs alone
// there: after all earlier rows of the table and before all later ones.
type DDL struct {
	// Database is the default database of the statement.
	Database string
	// Query is the text of the statement.
	Query string
	// Tables are the tables that the statement names, as "database.table". It is nil if it may concern any table.
	Tables []string
	// Transaction names the transaction in the log's own words.
	Transaction string
}
