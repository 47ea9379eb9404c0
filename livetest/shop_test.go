//go:build unix

package livetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// plain is the definition of the table plain, which is dropped and made again.
const plain = "CREATE TABLE plain (id bigint PRIMARY KEY, v varchar(200))"

// tables are the tables that change.
var tables = []string{
	"CREATE TABLE accounts (id bigint PRIMARY KEY, email varchar(40) UNIQUE, n int NOT NULL)",
	"CREATE TABLE seats (a int, b int, place int, slot int, PRIMARY KEY (a, b), UNIQUE place (place, slot))",
	plain,
	"CREATE TABLE journal (n int, v varchar(20))",
}

// columns are the columns of a table that are there all the time. The first of them are the primary key. The last two tables come
// and go.
var columns = map[string]struct {
	primary int
	names   []string
}{
	"accounts": {1, []string{"id", "email", "n"}},
	"seats":    {2, []string{"a", "b", "place", "slot"}},
	"plain":    {1, []string{"id", "v"}},
	"journal":  {0, []string{"n", "v"}},
	"ghost":    {1, []string{"id", "v"}},
	"old":      {1, []string{"id", "v"}},
}

// uniqueKeys returns the unique keys of the tables at the beginning.
func uniqueKeys() map[string][][]string {
	return map[string][][]string{
		"accounts": {{"id"}, {"email"}},
		"seats":    {{"a", "b"}, {"place", "slot"}},
		"plain":    {{"id"}},
		"ghost":    {{"id"}},
		"old":      {{"id"}},
	}
}

const (
	uniqueSlot  = "ALTER TABLE seats DROP INDEX place, ADD UNIQUE place (slot)"
	uniquePlace = "ALTER TABLE seats DROP INDEX place, ADD UNIQUE place (place, slot)"
)

// changedKeys are the unique keys of a table after a statement.
var changedKeys = map[string][][]string{
	uniqueSlot:  {{"a", "b"}, {"slot"}},
	uniquePlace: {{"a", "b"}, {"place", "slot"}},
}

const rename = "RENAME TABLE plain TO old, ghost TO plain"

// renamed are the tables that rename names, and the ones that they were before. Each comes before its own rows are gone.
var renamed = []struct{ table, before string }{{"old", "plain"}, {"plain", "ghost"}, {"ghost", ""}}

// swap puts a copy with other columns in the place of a table, as gh-ost does. Rows that others write meanwhile are lost.
var swap = []string{
	"DROP TABLE IF EXISTS ghost",
	"DROP TABLE IF EXISTS old",
	"CREATE TABLE ghost (id bigint PRIMARY KEY, more varchar(5), v varchar(200))",
	"INSERT IGNORE INTO ghost (id, v) SELECT id, v FROM plain",
	rename,
	"DROP TABLE IF EXISTS old",
}

// shop changes the tables of a database by several connections. The seed decides what each of them does.
type shop struct {
	db      *sql.DB
	seed    uint64
	ahead   int64        // most changes that are written and not handled
	written atomic.Int64 // at most so many as there are
	settled atomic.Int64
	defines atomic.Bool // definitions may change: members have all tables, and know the unique keys that they had at first
	rekeyed atomic.Bool // unique keys have changed, and members may not know the new ones yet
	stop    context.CancelFunc
	over    sync.WaitGroup
	errs    [connections]error // valid when over
}

const connections = 4

// open begins to change the tables.
func (s *shop) open(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	for i := range connections {
		s.over.Go(func() {
			c := &customer{shop: s, Rand: rand.New(rand.NewPCG(s.seed, uint64(i)))}
			for ctx.Err() == nil && s.errs[i] == nil {
				if s.written.Load()-s.settled.Load() > s.ahead {
					time.Sleep(time.Millisecond) // real time: a member handles them
				} else if err := c.visit(context.WithoutCancel(ctx)); !harmless(err) {
					s.errs[i] = err
				}
			}
		})
	}
}

// close ends all connections, each behind its transaction.
func (s *shop) close() error {
	s.stop()
	s.over.Wait()
	return errors.Join(s.errs[:]...)
}

// harmless reports whether an error only says that another connection was faster, or that a value is in use.
func harmless(err error) bool {
	e, is := errors.AsType[*driver.MySQLError](err)
	if !is {
		return err == nil
	}
	switch e.Number {
	case 1020, 1062, 1205, 1213, 1412: // changed meanwhile, duplicate, lock timeout, deadlock, definition changed
		return true
	case 1050, 1051, 1060, 1091, 1146: // table exists, no table, column exists, no column, no table
		return true
	}
	return false
}

// customer is one connection. It is not safe for concurrent use.
type customer struct {
	*shop
	*rand.Rand
}

// visit makes one transaction of several statements, or changes a definition.
func (c *customer) visit(ctx context.Context) error {
	if c.IntN(60) == 0 && c.defines.Load() {
		return c.define(ctx)
	}
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	changes, saved := int64(0), int64(-1)
	for range 1 + c.IntN(5) {
		switch c.IntN(12) {
		case 0:
			_, err = tx.ExecContext(ctx, "SAVEPOINT s")
			saved = changes
		case 1:
			if saved >= 0 {
				_, err = tx.ExecContext(ctx, "ROLLBACK TO s")
				changes = saved
			}
		}
		if err != nil {
			return err
		}
		for _, statement := range c.statement() {
			result, err := tx.ExecContext(ctx, statement)
			if !harmless(err) {
				return fmt.Errorf("%s: %w", statement, err)
			}
			if e, is := errors.AsType[*driver.MySQLError](err); is && e.Number != 1062 { // the transaction may have ended
				return err
			}
			if err == nil {
				n, _ := result.RowsAffected()
				changes += (n + 1) / 2 // REPLACE counts a changed row twice
			}
		}
	}
	if c.IntN(20) == 0 {
		return nil // rolled back
	}
	err = tx.Commit()
	if err == nil {
		c.written.Add(changes)
	}
	return err
}

// statement returns a statement, or some that exchange unique values.
func (c *customer) statement() []string {
	id, other := c.IntN(200), c.IntN(200)
	a, b := c.IntN(10), c.IntN(20)
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	switch c.IntN(20) {
	case 0:
		return one("INSERT INTO accounts (id, email, n) VALUES (%d, %s, 0), (%d, %s, 1)", id, c.email(), other, c.email())
	case 1:
		return one("REPLACE INTO accounts (id, email, n) VALUES (%d, %s, 2)", id, c.email())
	case 2:
		return one("INSERT INTO accounts (id, email, n) VALUES (%d, %s, 3) ON DUPLICATE KEY UPDATE n = n + 1, email = %s",
			id, c.email(), c.email())
	case 3:
		return one("UPDATE accounts SET id = %d WHERE id = %d", other, id)
	case 4:
		return one("UPDATE accounts SET email = %s WHERE id = %d", c.email(), id)
	case 5: // exchange
		email, another := c.email(), c.email()
		return []string{
			fmt.Sprintf("UPDATE accounts SET email = NULL WHERE email = %s", email),
			fmt.Sprintf("UPDATE accounts SET email = %s WHERE email = %s", email, another),
			fmt.Sprintf("UPDATE accounts SET email = %s WHERE email IS NULL LIMIT 1", another),
		}
	case 6:
		return one("UPDATE accounts SET n = n + 1 WHERE id BETWEEN %d AND %d", id, id+5)
	case 7:
		return one("DELETE FROM accounts WHERE id IN (%d, %d)", id, other)
	case 8, 9:
		return one("INSERT INTO seats (a, b, place, slot) VALUES (%d, %d, %s, %s)", a, b, c.maybe(10), c.maybe(40))
	case 10:
		return one("UPDATE seats SET a = %d, b = %d WHERE a = %d AND b = %d", c.IntN(10), c.IntN(20), a, b)
	case 11:
		return one("UPDATE seats SET place = %s, slot = %s WHERE a = %d AND b BETWEEN %d AND %d", c.maybe(10), c.maybe(40), a, b, b+1)
	case 12:
		return one("REPLACE INTO seats (a, b, place, slot) VALUES (%d, %d, %s, %s)", a, b, c.maybe(10), c.maybe(40))
	case 13:
		return one("DELETE FROM seats WHERE a = %d AND b = %d", a, b)
	case 14:
		return one("INSERT INTO plain (id, v) VALUES (%d, '%d'), (%d, '%d'), (%d, '%d')", id, other, other, id, id+200, id)
	case 15:
		return one("UPDATE plain SET id = id + 200 WHERE id BETWEEN %d AND %d ORDER BY id DESC", id, id+3)
	case 16:
		return one("UPDATE plain SET v = '%s' WHERE id BETWEEN %d AND %d", strings.Repeat("v", other%20), id, id+10)
	case 17:
		return one("DELETE FROM plain WHERE id BETWEEN %d AND %d", id, id+1)
	case 18:
		return one("DELETE FROM plain WHERE id > 400 LIMIT 3")
	}
	switch c.IntN(6) { // a table without a key is handled row by row
	case 0:
		return one("UPDATE journal SET n = n + 1 WHERE n = %d LIMIT 2", c.IntN(20))
	case 1:
		return one("DELETE FROM journal WHERE n = %d LIMIT 1", c.IntN(20))
	case 2:
		return one("INSERT INTO journal (n, v) VALUES (%d, 'line')", c.IntN(20))
	}
	return one("UPDATE accounts SET n = n + 1 WHERE id = %d", id)
}

// email returns one of some texts that are equal but for their case, or NULL.
func (c *customer) email() string {
	if c.IntN(8) == 0 {
		return "NULL"
	}
	return fmt.Sprintf("'%s%d@x'", []string{"user", "User", "USER"}[c.IntN(3)], c.IntN(150))
}

func (c *customer) maybe(n int) string {
	if c.IntN(8) == 0 {
		return "NULL"
	}
	return fmt.Sprint(c.IntN(n))
}

// define changes the definition of a table.
func (c *customer) define(ctx context.Context) (err error) {
	statements := [][]string{
		{"ALTER TABLE accounts ADD COLUMN more int DEFAULT 7 FIRST"},
		{"ALTER TABLE accounts DROP COLUMN more"},
		{uniquePlace},
		{"TRUNCATE TABLE seats", uniqueSlot},
		{"ALTER TABLE plain ADD COLUMN more varchar(5) DEFAULT 'x' AFTER id"},
		{"ALTER TABLE plain DROP COLUMN more"},
		{"TRUNCATE TABLE plain"},
		{"DROP TABLE plain", plain},
		swap, swap,
	}
	for _, statement := range statements[c.IntN(len(statements))] {
		if changedKeys[statement] != nil {
			// Members read unique keys from the server. They do not learn of keys that are gone by then.
			if !c.rekeyed.CompareAndSwap(false, true) {
				return nil
			}
			defer func() {
				if err != nil {
					c.rekeyed.Store(false)
				}
			}()
		}
		var result sql.Result
		if result, err = c.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		rows, _ := result.RowsAffected()
		c.written.Add(max(1, rows))
	}
	return nil
}
