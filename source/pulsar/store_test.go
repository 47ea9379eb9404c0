package pulsar

import (
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/commit/storetest"
)

// newSQLStore returns a store in a file, as programs use it.
func newSQLStore(t *testing.T) commit.Store {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "progress")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := commitsql.New(db, commitsql.SQLite, "billing", commitsql.Config{})
	if err == nil {
		err = s.Create(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The store of the tests on a fake broker is as good as a real one.
func TestStoreInMemoryKeepsTheContractOfStores(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemStore()
				c.Test(t, storetest.Env{Open: func() (commit.Store, error) { return s, nil }})
			})
		})
	}
}
