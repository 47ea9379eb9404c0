// Package sqlstore is what stores in SQL databases have in common: the dialects, transactions that end with their ctx, and the
// check of their tables. It uses database/sql alone.
package sqlstore

import (
	"fmt"
	"strconv"
	"strings"
)

// Dialect is the kind of a database.
type Dialect uint8

// Databases.
const (
	PostgreSQL Dialect = iota + 1
	MariaDB
	MySQL
	SQLite
)

// String returns the name of the database.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case MariaDB:
		return "MariaDB"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// Known reports whether d is one of the constants.
func (d Dialect) Known() bool { return d >= PostgreSQL && d <= SQLite }

// Bind returns a query with the placeholders of the database in place of the question marks.
func (d Dialect) Bind(query string) string {
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

// OrElse returns the end of an INSERT: what happens to a row that is there already. Without columns it stays as it is.
func (d Dialect) OrElse(key string, columns ...string) string {
	conflict := d == PostgreSQL || d == SQLite
	var set []string
	for _, c := range columns {
		if conflict {
			set = append(set, c+" = excluded."+c)
		} else {
			set = append(set, c+" = VALUES("+c+")")
		}
	}
	switch {
	case conflict && len(set) == 0:
		return " ON CONFLICT (" + key + ") DO NOTHING"
	case conflict:
		return " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(set, ", ")
	case len(set) == 0:
		return " ON DUPLICATE KEY UPDATE " + key + " = " + key
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
}

// Lock returns the end of a SELECT that locks its rows until the end of the transaction. On SQLite a transaction of Transact
// locks the whole file.
func (d Dialect) Lock() string {
	if d == SQLite {
		return ""
	}
	return " FOR UPDATE"
}

// LockShared is Lock for several transactions at once.
func (d Dialect) LockShared() string {
	switch d {
	case PostgreSQL:
		return " FOR SHARE"
	case MariaDB, MySQL:
		return " LOCK IN SHARE MODE"
	case SQLite:
	}
	return ""
}

// Isolate returns the statement that lets the next statement outside a transaction see nothing but what is committed. Empty:
// none is needed, since the database never shows anything else.
func (d Dialect) Isolate() string {
	if d == MariaDB || d == MySQL {
		return "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
	}
	return ""
}
