package sqlstore

import (
	"strconv"
	"strings"
	"time"
)

// Timeouts bound a transaction. PostgreSQL counts milliseconds, the others count seconds.
type Timeouts struct {
	// Silent is how long the process may be silent within the transaction. Then the server ends its session, so a machine that
	// is frozen or has lost its power does not hold locks any longer. MySQL has no such setting for transactions; it gets
	// wait_timeout, for as long as the transaction runs. A transaction of SQLite ends with its process.
	Silent time.Duration
	// Lock is how long a statement waits for the lock of another transaction. Zero: as long as the connection is set to. SQLite
	// needs it, and waits for it when a transaction begins.
	Lock time.Duration
}

// begin returns the statements that begin a transaction, and the statement that restores the settings of the connection when
// it has ended. Empty: there is none. Those of SQLite are in beginSQLite.
func (d Dialect) begin(t Timeouts) (statements []string, restore string) {
	if d == PostgreSQL { // settings of a transaction end with it
		return []string{"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", configure(t)}, ""
	}
	// Without a scope, tx_isolation is that of the next transaction alone. MySQL 8 has another name for it.
	silent, set := "idle_transaction_timeout", []string{"@@tx_isolation = 'READ-COMMITTED'"}
	if d == MySQL {
		silent, set = "wait_timeout", nil
	}
	set = append(set, "@keystrand_silent = @@SESSION."+silent, "@@SESSION."+silent+" = "+seconds(t.Silent))
	restore = "SET @@SESSION." + silent + " = @keystrand_silent"
	if t.Lock > 0 {
		const lock = "innodb_lock_wait_timeout"
		set = append(set, "@keystrand_lock = @@SESSION."+lock, "@@SESSION."+lock+" = "+seconds(t.Lock))
		restore += ", @@SESSION." + lock + " = @keystrand_lock"
	}
	statements = append(statements, "SET "+strings.Join(set, ", "))
	if d == MySQL {
		statements = append(statements, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
	}
	return append(statements, "START TRANSACTION READ WRITE"), restore
}

// configure returns the query that sets the timeouts of a transaction of PostgreSQL.
func configure(t Timeouts) string {
	set := func(name string, d time.Duration) string {
		return "set_config('" + name + "', '" + strconv.FormatInt(d.Milliseconds(), 10) + "ms', true)"
	}
	q := "SELECT " + set("idle_in_transaction_session_timeout", t.Silent)
	if t.Lock > 0 {
		q += ", " + set("lock_timeout", t.Lock)
	}
	return q
}

// seconds returns d in seconds, rounded down, at least one.
func seconds(d time.Duration) string { return strconv.FormatInt(max(1, int64(d/time.Second)), 10) }
