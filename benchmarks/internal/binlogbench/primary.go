// Package binlogbench is shared by the benchmarks on binary logs: a MariaDB to measure on, and a stub of one that runs on a
// machine with nothing but Go.
package binlogbench

import (
	"context"
	"time"
)

// Primary is a server with a binary log. Its methods are for one goroutine, but Write may run beside the others.
type Primary interface {
	// Client says how to connect.
	Client() Client
	// Create creates tables with so many unique keys each, 1 or 2.
	Create(ctx context.Context, keys int, tables ...string) error
	// Write inserts rows.
	Write(ctx context.Context, l Load) error
	// Place returns the GTID of the last transaction.
	Place(ctx context.Context) (string, error)
	// CPU returns the CPU time that the server has used; 0 if the system does not tell.
	CPU() time.Duration
	// Close deletes what Create has created.
	Close() error
}

// Client has the address and the account of a server, and the database of its tables.
type Client struct{ Addr, User, Password, Database string }

// Load says which rows to insert. Its transactions go to Tables in turns.
type Load struct {
	Tables      []string
	Rows        int
	Transaction int // rows of one transaction
	Value       int // bytes of a row in the log
}

// fixed is how many bytes of a row are not its text.
const fixed = 27

// text returns the length of the text of a row.
func (l Load) text() int { return max(0, l.Value-fixed) }

// transaction is what one transaction inserts: rows with the ids from first.
type transaction struct {
	table       string
	first, rows int
}

// ids counts the rows of each table.
type ids map[string]int

// transactions returns the transactions of a load, and counts their rows.
func (n ids) transactions(l Load) []transaction {
	var all []transaction
	for left := l.Rows; left > 0; left -= l.Transaction {
		t := transaction{table: l.Tables[len(all)%len(l.Tables)], rows: min(left, l.Transaction)}
		t.first = n[t.table] + 1
		n[t.table] += t.rows
		all = append(all, t)
	}
	return all
}
