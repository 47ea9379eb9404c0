// Package statement reads as much of a statement of the log as is needed to know what it does to tables. It never guesses:
// a statement that it cannot read may concern any table.
package statement

import (
	"slices"
)

// Kind is what a statement does.
type Kind uint8

// The kinds.
const (
	Unknown    Kind = iota // may concern any table
	Other                  // concerns the definition and the rows of no table: GRANT, CREATE VIEW
	Definition             // changes the definition of tables, or empties them
	Change                 // changes rows: the statement stands in the log instead of its rows
	Begin                  // begins a transaction
	Commit                 // ends a transaction
	Rollback               // ends a transaction, whose rows do not count
	RollbackTo             // takes back the rows behind a savepoint
	Savepoint              // sets or releases a savepoint
	XAStart                // begins a transaction of XA
	XAEnd                  // ends the statements of a transaction of XA; what becomes of it is open
	XAOutcome              // ends a prepared transaction of XA, for good or not
)

// Statement is what is known of a statement.
type Statement struct {
	Kind Kind
	// Tables are the tables of a Definition or a Change, as package names joins them; "database.*" is all tables of the database. Nil
	// means any table. They are in the order of the text, each once.
	Tables []string
	// Open reports that rows of the same transaction follow: CREATE TABLE ... START TRANSACTION.
	Open bool
	// XID is the text of the XID of an XAStart.
	XID string
}

// Mode is the part of the session's sql_mode that changes how a text is read.
type Mode struct {
	// NoBackslashEscapes reports that a backslash in a string is an ordinary character.
	NoBackslashEscapes bool
	// MariaDB reports that MariaDB has logged the statement.
	MariaDB bool
}

// Parse reads the text of a statement. database is the default database.
//
// A server runs what stands in a comment like /*!80016 this */ or not, as its version is. Where that differs among the versions
// that can be read, Parse reads the text both ways. The statement is Unknown if the readings differ.
func Parse(text, database string, mode Mode) Statement {
	tokens := lex(text, mode, true)
	executed := read(tokens, database)
	if !tokens.conditional {
		return executed
	}
	tokens = lex(text, mode, false)
	if !tokens.broken && len(tokens.list) == 0 {
		return executed // a dump's statement, which stands in such comments whole
	}
	skipped := read(tokens, database)
	if executed.Kind == skipped.Kind && slices.Equal(executed.Tables, skipped.Tables) && executed.Open == skipped.Open {
		return executed
	}
	return Statement{}
}

func read(ts tokens, database string) Statement {
	if ts.broken {
		return Statement{}
	}
	r := &reader{tokens: ts.list, database: database}
	s := r.statement()
	if r.failed {
		if s.Kind == Change {
			return Statement{Kind: Change}
		}
		return Statement{}
	}
	s.Tables = unique(s.Tables)
	return s
}

// unique returns names without repeats, in their order.
func unique(names []string) []string {
	var all []string
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
