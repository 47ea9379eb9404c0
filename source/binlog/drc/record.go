package drc

import "time"

// Record is a line of a stream. Docs/drc.md says which fields each type has.
type Record struct {
	Type Type `json:"type"`
	// Time is when the transaction was appended, or when a heartbeat was sent.
	Time time.Time `json:"time,omitzero"`
	// Transaction is the number of the transaction in its topic: 1, 2, and so on.
	Transaction int64 `json:"tx,omitempty"`
	// Index is the number of a row or a statement in its transaction, from 1. It counts rows that were not selected, too.
	Index int `json:"index,omitempty"`

	// Of a row. Table is "database.table"; a dot or a backslash in the name of the database has a backslash before it. Before is
	// absent for an insert, After for a delete. Values are in the order of Columns.
	Table   string   `json:"table,omitempty"`
	Kind    Kind     `json:"kind,omitempty"`
	Before  []any    `json:"before,omitempty"`
	After   []any    `json:"after,omitempty"`
	Columns []Column `json:"columns,omitempty"`
	Keys    []Key    `json:"keys,omitempty"`

	// Of a statement. "database.*" in Tables is all tables of a database. Tables is empty if it may concern any table.
	Database string   `json:"database,omitempty"`
	Query    string   `json:"query,omitempty"`
	Tables   []string `json:"tables,omitempty"`

	// Records is how many rows and statements the transaction of a commit has, selected or not.
	Records int `json:"records,omitempty"`

	// Checkpoint is the end of the transaction of a commit. In a heartbeat it is the end of the last transaction that this
	// stream has passed.
	Checkpoint string `json:"checkpoint,omitempty"`

	// Of a heartbeat. Oldest and End are the first and the last checkpoint of the topic.
	Subscriber string `json:"subscriber,omitempty"`
	State      State  `json:"state,omitempty"`
	Oldest     string `json:"oldest,omitempty"`
	End        string `json:"end,omitempty"`

	// Error is why the stream ends.
	Error *Error `json:"error,omitempty"`
}

// Type is the type of a [Record].
type Type string

// The types of records.
const (
	Row       Type = "row"
	DDL       Type = "ddl"
	Commit    Type = "commit" // ends a transaction
	Heartbeat Type = "heartbeat"
	Failure   Type = "error" // ends a stream
)

// Kind is what happened to a row.
type Kind string

// The kinds of rows.
const (
	Insert Kind = "insert"
	Update Kind = "update"
	Delete Kind = "delete"
)

// State tells whether a subscriber has its turn.
type State string

// The states of subscribers.
const (
	Waiting State = "waiting" // another subscriber is active
	Active  State = "active"
)

// Column is a column of a table when its row changed.
type Column struct {
	Name      string `json:"name"`
	Type      string `json:"type"` // without length: "bigint", "varchar"
	Unsigned  bool   `json:"unsigned,omitempty"`
	Collation string `json:"collation,omitempty"` // of text
	Generated bool   `json:"generated,omitempty"`
}

// Key is the primary key of a table, named PRIMARY, or a unique key.
type Key struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}
