package mysql_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// Numbers of rows hold for one identity: they depend on the server, on the filter, and on what places are.
func TestIdentityTellsServersFiltersAndKindsOfPlacesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := recorded.Load(t, recorded.Bank)
		identity := func(r *recorded.Recording, cfg mysql.Config, wanted ...string) string {
			log, _ := from(t, r, cfg, wanted...)
			id, err := log.Identity(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		seen := make(map[string]string)
		for name, id := range map[string]string{
			"plain":         identity(bank, mysql.Config{}, "bank.account", "bank.log"),
			"one table":     identity(bank, mysql.Config{}, "bank.account"),
			"by file":       identity(bank, mysql.Config{FilePosition: true}, "bank.account", "bank.log"),
			"other server":  identity(bank.Set("server_id", "9"), mysql.Config{}, "bank.account", "bank.log"),
			"other host":    identity(bank.Set("hostname", "elsewhere"), mysql.Config{}, "bank.account", "bank.log"),
			"server's uuid": identity(bank.Set("server_uuid", "3e11fa47"), mysql.Config{}, "bank.account", "bank.log"),
			"MySQL":         identity(bank.MySQL(t, recorded.GTIDs), mysql.Config{}, "bank.account", "bank.log"),
		} {
			if other, there := seen[id]; there {
				t.Errorf("%s and %s have the same identity: %s", name, other, id)
			}
			seen[id] = name
		}
		if a, b := identity(bank, mysql.Config{}, "bank.account", "bank.log"), identity(bank, mysql.Config{}, "bank.log", "bank.account"); a != b {
			t.Errorf("identity %s, and %s with the tables in another order", a, b)
		}
	})
}

// Rows that nobody wants cost no memory, and what cannot be decoded in them is not noticed.
func TestRowsOfTablesThatAreNotWantedAreNotDecoded(t *testing.T) {
	const rows = 200_000
	for _, wanted := range []string{"suite.t0", "suite.t1"} {
		t.Run(wanted, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, wanted)
				m := newMaker(t, s, "suite", "t0", "t1")
				old := mustRead(t, log)
				m.transaction(m.insert("suite", "t0", make([][3][]byte, rows)...)...)
				broken := m.insert("suite", "t0", [3][]byte{[]byte("k")})
				body := broken[1].Body()
				broken[1] = recorded.NewEvent(1, replication.WRITE_ROWS_EVENTv1, 1, 0, body[:len(body)-6])
				m.transaction(broken...)
				m.transaction(m.insert("suite", "t1", [3][]byte{})...)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				all, err := readAll(t, log, old[len(old)-1].Place, nil)
				runtime.ReadMemStats(&after)
				if err != nil {
					t.Fatal(err)
				}
				made, fault := after.Mallocs-before.Mallocs, faultsOf(all)["suite.t0"]
				if wanted == "suite.t0" {
					if n := len(rowsOf(all, "suite.t0")); n != rows || fault == nil || made < rows {
						t.Errorf("%d rows, fault %v, %d allocations, want %d, one, and at least as many", n, fault, made, rows)
					}
				} else if n := len(rowsOf(all, "suite.t1")); n != 1 || fault != nil || made > rows/2 {
					t.Errorf("%d rows, fault %v, %d allocations, want 1, none, and at most %d", n, fault, made, rows/2)
				}
			})
		})
	}
}

// An insert and a delete have one image, an update has two: with binlog_row_image=FULL_NODUP only the second lacks columns.
func TestImageThatLacksAColumnStopsItsTable(t *testing.T) {
	for name, typ := range map[string]replication.EventType{
		"insert": replication.WRITE_ROWS_EVENTv1, "delete": replication.DELETE_ROWS_EVENTv1, "update": replication.UPDATE_ROWS_EVENTv1,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
				m := newMaker(t, s, "suite", "t0", "t1")
				events := m.insert("suite", "t0", [3][]byte{})
				body := slices.Clone(events[1].Body())
				const columns = 9 // behind the table's number, flags and the number of columns
				if name == "update" {
					row := body[columns+1:]
					body = slices.Concat(body[:columns+1], []byte{0b0111}, row, row)
				} else {
					body[columns] = 0b0111
				}
				events[1] = recorded.NewEvent(1, typ, 1, 0, body)
				m.transaction(append(events, m.insert("suite", "t1", [3][]byte{})...)...)
				all, err := readAll(t, log, "", nil)
				if err != nil {
					t.Fatal(err)
				}
				if fault := faultsOf(all)["suite.t0"]; fault == nil || !strings.Contains(fault.Error(), "binlog_row_image") {
					t.Errorf("fault %v, want one about binlog_row_image", fault)
				}
				if n, other := len(rowsOf(all, "suite.t0")), len(rowsOf(all, "suite.t1")); n != 0 || other != 1 {
					t.Errorf("%d rows of the table and %d of another, want 0 and 1", n, other)
				}
			})
		})
	}
}

// Servers refuse to send their log to the server id 0.
func TestDerivedServerIDsAreNotZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{})
		mustRead(t, log)
		if d := s.Dumps(); len(d) != 1 || d[0].ServerID < 1<<30 {
			t.Errorf("server ids of %+v, want a random one above 2^30", d)
		}
	})
}

// Servers log a transaction that is rolled back if it has changed tables without transactions.
func TestTransactionThatIsRolledBackAfterItsRowsStopsAll(t *testing.T) {
	for _, statement := range []string{"ROLLBACK", "ROLLBACK TO `s`"} {
		t.Run(statement, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.t0")
				m := newMaker(t, s, "suite", "t0")
				m.transaction(append(m.insert("suite", "t0", [3][]byte{}), query("suite", statement))...)
				all, err := readAll(t, log, "", nil)
				if fault := faultsOf(all)[""]; err == nil || log.Temporary(err) || fault == nil || !strings.Contains(fault.Error(), "rolled back") {
					t.Errorf("error %v, fault %v, want final ones about the rollback", err, fault)
				}
			})
		})
	}
}

// Where several servers are read, each has its own streams.
func TestNameIsInFrontOfTheNamesOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := recorded.Load(t, recorded.Bank)
		s := recorded.Pipe(t, bank)
		s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, bank, query) }
		src, err := mysql.New("recorded:3306", []string{"bank.account"}, newMemStore(), mysql.Config{
			Name: "north", User: recorded.User, Password: recorded.Password, Dial: s.DialContext,
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := src.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := p.ID().Stream; got != "north/bank.account" {
			t.Errorf("stream %q, want north/bank.account", got)
		}
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
}

// query returns a statement of a session without status variables.
func query(database, text string) recorded.Event {
	body := append(make([]byte, 8), byte(len(database)), 0, 0, 0, 0)
	body = append(append(append(body, database...), 0), text...)
	return recorded.NewEvent(1, replication.QUERY_EVENT, 1, 0, body)
}
