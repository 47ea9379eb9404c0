package sql_test

import (
	"database/sql"
	"errors"
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
	s := newStore(t, new(sql.DB), spillsql.PostgreSQL, "closed")
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
