package sql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

func TestNewNamesEverythingThatIsWrong(t *testing.T) {
	_, err := spillsql.New(nil, 7, "")
	for _, want := range []string{"db is nil", "Dialect(7)", "name is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
	}
}

func TestStoreIsSharedAndClosesOnce(t *testing.T) {
	s := newStore(t, sql.OpenDB(&connector{}), spillsql.PostgreSQL, "closed")
	if !s.Shared() {
		t.Error("Shared = false")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); !errors.Is(err, spill.ErrClosed) {
		t.Errorf("second Close = %v, want ErrClosed", err)
	}
	if _, _, err := s.Open(t.Context(), owner); !errors.Is(err, spill.ErrClosed) {
		t.Errorf("Open after Close = %v, want ErrClosed", err)
	}
}

func TestPlaceholdersAreThoseOfTheDatabase(t *testing.T) {
	const q = "a = ? AND b IN (?, ?)"
	if got := spillsql.PostgreSQL.Bind(q); got != "a = $1 AND b IN ($2, $3)" {
		t.Errorf("PostgreSQL: %s", got)
	}
	if got := spillsql.MariaDB.Bind(q); got != q {
		t.Errorf("MariaDB: %s", got)
	}
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
		if got := spillsql.Parts(c.n, c.rows, c.size, c.bytes); !slices.Equal(got, c.want) {
			t.Errorf("%d rows of %d bytes, at most %d rows and %d bytes: %v, want %v", c.n, c.size, c.rows, c.bytes, got, c.want)
		}
	}
}

// Drivers send one statement at a time: each statement of Schema ends with a semicolon and a line, and no other line does.
func TestSchemaIsCutIntoStatements(t *testing.T) {
	for _, d := range []spillsql.Dialect{spillsql.PostgreSQL, spillsql.MariaDB} {
		statements := strings.Split(spillsql.Schema(d), ";\n")
		if len(statements) != 6 || statements[5] != "" {
			t.Fatalf("%v: %d statements, want 5: %q", d, len(statements)-1, statements)
		}
		for _, q := range statements[:5] {
			if !strings.HasPrefix(q, "CREATE TABLE keystrand_spill_") && !strings.HasPrefix(q, "INSERT INTO keystrand_spill_") {
				t.Errorf("%v: %s", d, q)
			}
		}
	}
	if q := spillsql.Schema(0); q != "" {
		t.Errorf("Schema of no dialect = %q", q)
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
		"settings not restored":   {fail: map[string]error{"SET @@SESSION.idle_transaction_timeout = @keystrand_idle": errLost}, closed: 1},
		"second statement failed": {fail: map[string]error{"START TRANSACTION READ WRITE": errLost, "ROLLBACK": errLost}, want: errLost, closed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &connector{fail: c.fail}
			pool := sql.OpenDB(fake)
			s := newStore(t, pool, spillsql.MariaDB, "fake")
			err := s.Transact(t.Context(), func(*sql.Conn) error { return c.run })
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
