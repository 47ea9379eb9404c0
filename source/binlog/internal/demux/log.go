// Package demux makes a source of a log of row changes: every table is a partition.
package demux

import (
	"context"
	"errors"
	"time"

	"github.com/keystrand/keystrand/source/binlog"
)

// Log is a log of row changes that can be read from the end of any transaction. Its methods are called from any number of
// goroutines, may block, and return soon after ctx ends.
type Log interface {
	// Identity names the server's log and the filter. Numbers of rows compare only within one identity.
	Identity(ctx context.Context) (string, error)
	// Filter names the filter: rows are counted the same with filters of one name. It does not block.
	Filter() string
	// Start returns the place where a copy without progress begins.
	Start(ctx context.Context) (Place, error)
	// Tables returns the wanted tables that exist now, as Stream names them: "database.table".
	Tables(ctx context.Context) ([]string, error)
	// Open begins to read behind a place. tables has what is known of tables, if anything is. An error that wraps ErrGone, or
	// any other that is not temporary, is final.
	Open(ctx context.Context, after Place, tables map[string]Known) (Reader, error)
	// Wanted reports whether the filter takes a table. It does not block.
	Wanted(table string) bool
	// Reached reports whether a place is at or behind another: everything before want is before at. Both may come from
	// different servers of one history.
	Reached(at, want Place) (bool, error)
	// Lowest returns a place that all of the given places, at least one, have reached. It may be none of them.
	Lowest(places ...Place) (Place, error)
	// Temporary reports whether an error of Open or Next may heal. The demultiplexer then opens the log again behind the last
	// End that it has seen, and drops the rows that it has handed out.
	Temporary(err error) bool
}

// Known is what is known of a table when the log is opened.
type Known struct {
	// State is what the log has told of the table at or before the place where it is opened (Event.State).
	State string
	// Settled is a place, perhaps of another server, up to which the table has settled its rows. The reader returns a Fault that
	// wraps ErrGone if it notices that this log does not have the place: rows would be skipped that were never handed out. It is
	// empty where numbers tell what is settled.
	Settled Place
	// Within is a transaction behind it of which the table has settled a part. It is empty if there is none.
	Within Place
}

// Place is the end of a transaction in the log's own words. It is opaque but for Log.Reached.
type Place string

// ErrGone says that the log cannot be read from a place any more, or never could.
var ErrGone = errors.New("the log does not reach back to the place")

// Reader reads a log. It is used by one goroutine.
//
// Readers of one identity return the same rows, statements and ends behind a place in the same order, wherever they have begun:
// they are counted, and the counts are kept for restarts. So an event's count must depend on the event alone, not on what the
// reader has met before. A fault of a table takes the numbers of the rows that it stands for, and the table's rows behind it are
// returned like others.
type Reader interface {
	// Next returns the next event. It blocks until there is one. The event is valid until the next call; what it points to
	// stays valid.
	Next(ctx context.Context) (*Event, error)
	// Close ends the reader. It may be called while Next blocks, which then returns.
	Close() error
}

// Event is what a Reader returns: rows, a transaction's end, a statement, or a fault of a table.
type Event struct {
	Kind EventKind
	// Rows are rows of one table, for Rows. Rows of tables that are not wanted are left out.
	Rows []binlog.Row
	// Time is when the transaction was committed, as the server tells; zero if it does not.
	Time time.Time
	// Place is where a restart may begin, for End: the end of the transaction. It is empty if the log cannot name that place; a
	// restart then begins at an earlier one.
	//
	// For Rows, Statement and Fault it is a place that has this transaction alone, its GTID, so that Reached reports whether a
	// place has the transaction. It is empty for a log without such names, whose transactions have one order on all servers.
	Place Place
	// Bytes is about the size in the log of what was read since the event before, wanted or not.
	Bytes int
	// DDL is the statement, for Statement. The End of its transaction follows. DDL.Apply is false. Nil Tables say that the text
	// cannot be read: it may concern any table.
	DDL *binlog.DDL
	// Table is the table that State or Err are about; empty for all.
	Table string
	// State is what the log wants to be told about the table when it is opened at or behind this event's transaction end.
	State string
	// Err is the fault that stops Table, for Fault: a row that cannot be read, or must not be applied. A Fault that wraps ErrGone
	// stops the table also where it has settled the transaction: the place of its progress is not in this log.
	Err error
	// Count is how many rows a Fault stands for. They have numbers like others.
	Count int
}

// EventKind is a kind of Event.
type EventKind uint8

// The kinds of events.
const (
	Rows      EventKind = iota + 1
	End                 // of a transaction
	Statement           // a DDL
	Defined             // State of Table has changed
	Fault               // Table stops with Err, or all tables do
	Idle                // nothing has happened: the end of the log is reached, or a heartbeat came
)
