package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// Dialect is the kind of the database.
type Dialect uint8

// Databases.
const (
	PostgreSQL Dialect = iota + 1
	MariaDB
)

// String returns the name that the database has in its version().
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case MariaDB:
		return "MariaDB"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// bind returns a query with the placeholders of the database in place of the question marks.
func (d Dialect) bind(query string) string {
	if d != PostgreSQL {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + len(query)/2)
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}

// begin returns the statements that begin a transaction. READ COMMITTED lets each statement see what was committed before it,
// so what a transaction reads behind the lock of its partition is what the holder before it has left. A snapshot that is older
// than the lock would not do.
//
// The server ends the session if it is silent for idle seconds within the transaction: a machine that is frozen or has lost its
// power does not hold the lock any longer. PostgreSQL gets this with lock.
func (d Dialect) begin(idle int) []string {
	if d == PostgreSQL {
		return []string{"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"}
	}
	// Without a scope, tx_isolation is that of the next transaction alone.
	return []string{
		"SET @@tx_isolation = 'READ-COMMITTED', @keystrand_idle = @@SESSION.idle_transaction_timeout, @@SESSION.idle_transaction_timeout = " + strconv.Itoa(idle),
		"START TRANSACTION READ WRITE",
	}
}

// restore returns the statement that gives a connection back its settings when the transaction has ended. Empty: there is none.
func (d Dialect) restore() string {
	if d == PostgreSQL {
		return "" // those of a transaction end with it
	}
	return "SET @@SESSION.idle_transaction_timeout = @keystrand_idle"
}

// isolate returns the statement that lets the next statement see nothing but what is committed. Empty: none is needed, since
// PostgreSQL never shows anything else.
func (d Dialect) isolate() string {
	if d == PostgreSQL {
		return ""
	}
	return "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
}

// lock returns the query that locks a partition until the end of the transaction.
func (d Dialect) lock(idle int) string {
	set := "''"
	if d == PostgreSQL {
		set = "set_config('idle_in_transaction_session_timeout', '" + strconv.Itoa(idle) + "s', true)"
	}
	return "SELECT id, claim, epoch, log, " + set + " FROM keystrand_spill_partitions WHERE hash = ? FOR UPDATE"
}

// orElse returns the end of an INSERT: what happens to a row that is there already. Without columns it stays as it is.
func (d Dialect) orElse(key string, columns ...string) string {
	var set []string
	for _, c := range columns {
		if d == PostgreSQL {
			set = append(set, c+" = excluded."+c)
		} else {
			set = append(set, c+" = VALUES("+c+")")
		}
	}
	switch {
	case d == PostgreSQL && len(set) == 0:
		return " ON CONFLICT (" + key + ") DO NOTHING"
	case d == PostgreSQL:
		return " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(set, ", ")
	case len(set) == 0:
		return " ON DUPLICATE KEY UPDATE " + key + " = " + key
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
}
