package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keystrand/keystrand/internal/sqlstore"
)

func TestPlaceholdersAreThoseOfTheDatabase(t *testing.T) {
	const q = "a = ? AND b IN (?, ?)"
	if got := sqlstore.PostgreSQL.Bind(q); got != "a = $1 AND b IN ($2, $3)" {
		t.Errorf("PostgreSQL: %s", got)
	}
	for _, d := range []sqlstore.Dialect{sqlstore.MariaDB, sqlstore.MySQL, sqlstore.SQLite} {
		if got := d.Bind(q); got != q {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// lengths cuts n rows of this size, and returns the lengths of the parts.
func lengths(n, rows, size, bytes int) (all []int) {
	for part := range sqlstore.PartsBySize(make([]struct{}, n), rows, bytes, func(struct{}) int { return size }) {
		all = append(all, len(part))
	}
	return all
}

func TestPartsHaveLengthsOfPowersOfTwoWithinTheLimits(t *testing.T) {
	for _, c := range []struct {
		n, rows, size, bytes int
		want                 []int
	}{
		{0, 8, 1, 100, nil},
		{1, 8, 1, 100, []int{1}},
		{23, 8, 1, 100, []int{8, 8, 4, 2, 1}},
		{8, 8, 30, 100, []int{2, 2, 2, 2}},
		{3, 8, 101, 100, []int{1, 1, 1}},
	} {
		if got := lengths(c.n, c.rows, c.size, c.bytes); !slices.Equal(got, c.want) {
			t.Errorf("%d rows of %d bytes, at most %d rows and %d bytes: %v, want %v", c.n, c.size, c.rows, c.bytes, got, c.want)
		}
	}
}

func TestPlacesOfDifferentPartitionsDiffer(t *testing.T) {
	seen := make(map[string][3]any)
	for _, name := range []string{"", "a", "a\x00", "ab"} {
		for _, stream := range []string{"", "b", "a", "A", "\x00", "ab"} {
			for _, partition := range []int32{0, 1, -1, 1 << 24} {
				place := string(sqlstore.Place(name, stream, partition))
				if other, there := seen[place]; there {
					t.Errorf("%q %q %d is the place of %v", name, stream, partition, other)
				}
				seen[place] = [3]any{name, stream, partition}
			}
		}
	}
}

// A connection whose transaction may still be open, or that has settings of the store, must not go back to the pool: the next
// statement of its borrower would belong to that transaction, or end with its time.
func TestConnectionIsClosedUnlessItsTransactionHasEnded(t *testing.T) {
	errRun := errors.New("run")
	for name, c := range map[string]struct {
		fail   map[string]error
		run    error
		want   error
		closed int
	}{
		"committed":               {},
		"undone":                  {run: errRun, want: errRun},
		"undo failed":             {run: errRun, fail: map[string]error{"ROLLBACK": errLost}, want: errRun, closed: 1},
		"lost in COMMIT":          {fail: map[string]error{"COMMIT": errLost, "ROLLBACK": errLost}, want: errLost, closed: 1},
		"refused in COMMIT":       {fail: map[string]error{"COMMIT": errLost}, want: errLost},
		"settings not restored":   {fail: map[string]error{"SET @@SESSION.idle_transaction_timeout = @keystrand_silent": errLost}, closed: 1},
		"second statement failed": {fail: map[string]error{"START TRANSACTION READ WRITE": errLost, "ROLLBACK": errLost}, want: errLost, closed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &connector{fail: c.fail}
			pool := sql.OpenDB(fake)
			db := sqlstore.Database{DB: pool, Dialect: sqlstore.MariaDB}
			err := db.Transact(t.Context(), sqlstore.Timeouts{Silent: time.Second}, func(*sql.Conn) error { return c.run })
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Transact = %v, want %v", err, c.want)
			}
			if fake.closed != c.closed {
				t.Errorf("%d connections were closed, want %d", fake.closed, c.closed)
			}
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

var errLost = errors.New("connection lost")

// connector makes connections whose statements do nothing, or fail.
type connector struct {
	fail   map[string]error // by statement
	closed int
}

func (c *connector) Connect(context.Context) (driver.Conn, error) { return &conn{c}, nil }
func (c *connector) Driver() driver.Driver                        { return nil }

type conn struct{ c *connector }

func (c *conn) ExecContext(_ context.Context, q string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, c.c.fail[q]
}
func (c *conn) Close() error                        { c.c.closed++; return nil }
func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, errLost }
func (c *conn) Begin() (driver.Tx, error)           { return nil, errLost }
