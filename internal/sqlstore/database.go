package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// maxValue bounds a value, below what a message of the protocol of PostgreSQL can have, and what SQLite takes.
const maxValue = 1 << 29

// Database is where a store has its tables.
type Database struct {
	DB      *sql.DB
	Dialect Dialect
	// Prefix begins the names of all tables, such as keystrand_spill_.
	Prefix string
	// Tables are the names behind Prefix. One is layout: its only row has the version of the tables.
	Tables []string
	// Layout is the version of the tables that the store uses.
	Layout int64
	// Content is what is lost when the tables are dropped, such as "messages".
	Content string
	// Unusable is in the errors of Check that do not heal by themselves.
	Unusable error
}

// Limits is what the database takes.
type Limits struct {
	Value     int // bytes of a value
	Statement int // bytes of the values of a statement, unless one alone is larger
}

// Check returns an error that says what to do, unless the database is the right one and has the tables in the right layout. On
// SQLite it is a transaction, and needs t.
func (db *Database) Check(ctx context.Context, t Timeouts) (lim Limits, err error) {
	if db.Dialect != SQLite {
		return db.check(ctx, db.DB)
	}
	err = db.Transact(ctx, t, func(c *sql.Conn) error {
		lim, err = db.check(ctx, c)
		return err
	})
	return lim, err
}

// asker is a *sql.DB or a *sql.Conn.
type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (db *Database) check(ctx context.Context, c asker) (Limits, error) {
	if err := db.checkDialect(ctx, c); err != nil {
		return Limits{}, err
	}
	packet := int64(maxValue)
	if db.Dialect == MariaDB || db.Dialect == MySQL {
		if err := c.QueryRowContext(ctx, "SELECT @@max_allowed_packet").Scan(&packet); err != nil {
			return Limits{}, err
		}
	}
	if err := db.checkTables(ctx, c); err != nil {
		return Limits{}, err
	}
	// The rest of the packet is for the other columns, and for what the protocol adds.
	value := int(min(packet, maxValue)) - 64<<10
	return Limits{Value: value, Statement: min(value, 1<<20)}, nil
}

// checkDialect asks the database for its version. MySQL's is a number alone.
func (db *Database) checkDialect(ctx context.Context, c asker) error {
	q := "SELECT version()"
	if db.Dialect == SQLite {
		q = "SELECT 'SQLite ' || sqlite_version()"
	}
	var version string
	if err := c.QueryRowContext(ctx, q).Scan(&version); err != nil {
		return fmt.Errorf("ask for the version of %v: %w", db.Dialect, err)
	}
	right := strings.Contains(version, db.Dialect.String())
	if db.Dialect == MySQL {
		right = !strings.Contains(version, MariaDB.String()) && !strings.Contains(version, PostgreSQL.String())
	}
	if !right {
		return fmt.Errorf("the store was made for %v, and the database says that it is %.100q: give New the dialect of the database, if there is one: %w",
			db.Dialect, version, db.Unusable)
	}
	return nil
}

func (db *Database) checkTables(ctx context.Context, c asker) error {
	found, err := db.count(ctx, c)
	if err != nil {
		return err
	}
	if found < len(db.Tables) {
		return fmt.Errorf("%d of the %d tables %s* are visible: create them with the statements of Schema, in the database and schema that the connection uses: %w",
			found, len(db.Tables), db.Prefix, db.Unusable)
	}
	var versions, version sql.NullInt64
	err = c.QueryRowContext(ctx, "SELECT COUNT(*), MIN(version) FROM "+db.Prefix+"layout").Scan(&versions, &version)
	if err != nil {
		return err
	}
	const anew = "drop them and create them with the statements of Schema, which gives up their"
	switch {
	case versions.Int64 != 1:
		return fmt.Errorf("the table %slayout has %d rows instead of one: restore the tables from a backup, or %s %s: %w",
			db.Prefix, versions.Int64, anew, db.Content, db.Unusable)
	case version.Int64 != db.Layout:
		return fmt.Errorf("the tables %s* have the layout %d, and this version of keystrand uses %d: run the version that created them, or %s %s: %w",
			db.Prefix, version.Int64, db.Layout, anew, db.Content, db.Unusable)
	}
	return nil
}

// count returns how many of the tables there are.
func (db *Database) count(ctx context.Context, c asker) (found int, err error) {
	var q string
	switch n := len(db.Tables); db.Dialect {
	case PostgreSQL:
		q = "SELECT COUNT(to_regclass(name)) FROM (VALUES " + Lists(n, 1) + ") AS names (name)"
	case MariaDB, MySQL:
		q = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN " + List(n)
	case SQLite:
		q = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN " + List(n)
	}
	names := make([]any, len(db.Tables))
	for i, t := range db.Tables {
		names[i] = db.Prefix + t
	}
	err = c.QueryRowContext(ctx, db.Dialect.Bind(q), names...).Scan(&found)
	return found, err
}
