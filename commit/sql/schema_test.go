package sql_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	commitsql "github.com/keystrand/keystrand/commit/sql"
)

func TestNewNamesEverythingThatIsWrong(t *testing.T) {
	_, err := commitsql.New(nil, 7, "", commitsql.Config{ClaimTimeout: time.Second})
	for _, want := range []string{"db is nil", "Dialect(7)", "name is empty", "ClaimTimeout is 1s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
	}
}

// Drivers send one statement at a time: each statement of Schema ends with a semicolon and a line, and no other line does.
func TestSchemaIsCutIntoStatements(t *testing.T) {
	for _, d := range []commitsql.Dialect{commitsql.PostgreSQL, commitsql.MariaDB, commitsql.MySQL, commitsql.SQLite} {
		statements := strings.Split(commitsql.Schema(d), ";\n")
		if len(statements) != 5 || statements[4] != "" {
			t.Fatalf("%v: %d statements, want 4: %q", d, len(statements)-1, statements)
		}
		for _, q := range statements[:4] {
			if !strings.HasPrefix(q, "CREATE TABLE keystrand_commit_") && !strings.HasPrefix(q, "INSERT INTO keystrand_commit_") {
				t.Errorf("%v: %s", d, q)
			}
		}
	}
	if q := commitsql.Schema(0); q != "" {
		t.Errorf("Schema of no dialect = %q", q)
	}
}

func TestTablesAreCreatedByManyProcessesAtOnce(t *testing.T) {
	createdAtOnce(t, newFile(t))
}

func TestLiveTablesAreCreatedByManyProcessesAtOnce(t *testing.T) {
	onServices(t, createdAtOnce)
}

func createdAtOnce(t *testing.T, db database) {
	t.Helper()
	var all sync.WaitGroup
	for range 8 {
		s, err := commitsql.New(db.pool(t, nil), db.dialect, "billing", commitsql.Config{})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := s.Create(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := s.Claim(t.Context(), "orders", 0, 0); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestUnusableTablesAreAnErrorThatSaysWhatToDo(t *testing.T) {
	unusable(t, newFile)
}

func TestLiveUnusableTablesAreAnErrorThatSaysWhatToDo(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		unusable(t, db.newDatabase)
	})
}

func unusable(t *testing.T, newDatabase func(tb testing.TB) database) {
	t.Helper()
	for name, c := range map[string]struct {
		statement string
		want      string
		created   bool // Create mends it
	}{
		"no tables":          {"DROP TABLE keystrand_commit_layout", "Schema", false},
		"a table is missing": {"DROP TABLE keystrand_commit_progress", "2 of the 3 tables", true},
		"another layout":     {"UPDATE keystrand_commit_layout SET version = 2", "layout 2", false},
		"no layout":          {"DELETE FROM keystrand_commit_layout", "0 rows", true},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t)
			pool := db.pool(t, nil)
			used := db.store(t, pool, commitsql.Config{})
			epoch := claim(t, used, 1).Epoch
			exec1(t, pool, c.statement)
			if name == "no tables" {
				exec1(t, pool, "DROP TABLE keystrand_commit_owners")
				exec1(t, pool, "DROP TABLE keystrand_commit_progress")
				c.created = true
			}
			s, err := commitsql.New(pool, db.dialect, "billing", commitsql.Config{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Claim(t.Context(), "orders", 1, epoch)
			if !errors.Is(err, commitsql.ErrUnusable) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `orders/1: store "billing"`) {
				t.Errorf("Claim = %v, want ErrUnusable with %q, partition and store", err, c.want)
			}
			if err := s.Create(t.Context()); (err == nil) != c.created {
				t.Errorf("Create = %v, want none: %v", err, c.created)
			}
		})
	}
	t.Run("another dialect", func(t *testing.T) {
		db := newDatabase(t)
		pool := db.pool(t, nil)
		for _, d := range []commitsql.Dialect{commitsql.PostgreSQL, commitsql.MariaDB, commitsql.MySQL, commitsql.SQLite} {
			if d == db.dialect {
				continue
			}
			s, err := commitsql.New(pool, d, "billing", commitsql.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Claim(t.Context(), "orders", 1, 0); err == nil || !strings.Contains(err.Error(), d.String()) {
				t.Errorf("Claim of %v in %v = %v, want an error that names the dialect", d, db.dialect, err)
			}
		}
	})
	t.Run("a table is dropped while it is used", func(t *testing.T) {
		db := newDatabase(t)
		pool := db.pool(t, nil)
		s := db.store(t, pool, commitsql.Config{})
		epoch := claim(t, s, 1).Epoch
		exec1(t, pool, "DROP TABLE keystrand_commit_progress")
		err := s.Save(t.Context(), "orders", 1, progressAt(epoch, 1))
		if !errors.Is(err, commitsql.ErrUnusable) || !strings.Contains(err.Error(), "2 of the 3 tables") {
			t.Errorf("Save = %v, want ErrUnusable", err)
		}
		db.store(t, pool, commitsql.Config{})
		if _, err := s.Claim(t.Context(), "orders", 1, 0); err == nil {
			t.Error("Claim without the row of progress succeeded")
		}
	})
}
