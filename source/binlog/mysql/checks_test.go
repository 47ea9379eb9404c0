package mysql_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func TestServerWithWrongSettingsIsRefusedWithEveryReasonAndStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorded.Load(t, recorded.Bank).Set("log_bin", "OFF").Set("binlog_format", "MIXED").Set("binlog_row_image", "MINIMAL").
			Set("binlog_row_metadata", "NO_LOG").Set("binlog_row_value_options", "PARTIAL_JSON").
			Set("grants", "GRANT SELECT, REPLICATION SLAVE ADMIN ON *.* TO `keystrand`@`%`")
		log, _ := from(t, r, mysql.Config{})
		_, err := log.Identity(t.Context())
		if err == nil || log.Temporary(err) {
			t.Fatalf("error %v, want a final one", err)
		}
		for _, want := range []string{
			"log_bin is OFF: put log_bin=ON",
			"binlog_format is MIXED: run SET GLOBAL binlog_format = 'ROW'",
			"binlog_row_image is MINIMAL: run SET GLOBAL binlog_row_image = 'FULL'",
			"binlog_row_metadata is NO_LOG: run SET GLOBAL binlog_row_metadata = 'FULL'",
			"binlog_row_value_options is PARTIAL_JSON: run SET GLOBAL binlog_row_value_options = ''",
			"run GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.*",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error has no %q:\n%v", want, err)
			}
		}
		if _, err := log.Start(t.Context()); err == nil {
			t.Error("Start: no error")
		}
		if _, err := log.Open(t.Context(), "mariadb:0-1-1", nil); err == nil {
			t.Error("Open: no error")
		}
	})
}

// Without log_slave_updates a replica logs nothing of what its primary does.
func TestReplicaWithoutItsPrimarysChangesInItsLogIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		updates  string
		mysql    bool
		rows     map[string]int // by the beginning of a statement; -1: the user has no privilege, -2: the server does not know it
		replica  bool
		variable string
	}{
		"primary":                             {updates: "OFF", rows: map[string]int{"SHOW ALL SLAVES STATUS": 0}},
		"replica":                             {updates: "OFF", rows: map[string]int{"SHOW ALL SLAVES STATUS": 1}, replica: true},
		"replica with the changes in its log": {updates: "ON"},
		"no privilege, replicates":            {updates: "OFF", rows: map[string]int{"SHOW ALL SLAVES": -1, "SHOW GLOBAL STATUS": 1}, replica: true},
		"no privilege, does not replicate":    {updates: "OFF", rows: map[string]int{"SHOW ALL SLAVES": -1, "SHOW GLOBAL STATUS": 0}},
		"MySQL":                               {updates: "OFF", mysql: true, rows: map[string]int{"SHOW REPLICA STATUS": 1}, replica: true},
		"MySQL by the new name":               {updates: "OFF", mysql: true, rows: map[string]int{"SHOW REPLICA STATUS": 1}, replica: true, variable: "log_replica_updates"},
		"MySQL before 8.0.22":                 {updates: "OFF", mysql: true, rows: map[string]int{"SHOW REPLICA STATUS": -2, "SHOW SLAVE STATUS": 1}, replica: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := recorded.Load(t, recorded.Bank)
				if c.mysql {
					r = r.MySQL(t, recorded.GTIDs)
				}
				if c.variable == "" {
					c.variable = "log_slave_updates"
				}
				log, s := from(t, r.Set(c.variable, c.updates), mysql.Config{})
				before := s.OnQuery
				s.OnQuery = func(query string, args []any) (*recorded.Table, error) {
					for statement, n := range c.rows {
						if !strings.HasPrefix(query, statement) {
							continue
						}
						switch n {
						case -1:
							return nil, gomysql.NewError(gomysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, "Access denied; you need the SLAVE MONITOR privilege")
						case -2:
							return nil, gomysql.NewError(gomysql.ER_PARSE_ERROR, "You have an error in your SQL syntax")
						}
						return &recorded.Table{Columns: []string{"State"}, Rows: slices.Repeat([][]any{{"x"}}, n)}, nil
					}
					return before(query, args)
				}
				_, err := log.Identity(t.Context())
				if !c.replica {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if err == nil || log.Temporary(err) || !strings.Contains(err.Error(), "put log_slave_updates=ON into its configuration file") {
					t.Errorf("error %v, want a final one that says what to set", err)
				}
			})
		})
	}
}

func TestWantedNameThatMatchesNoTableIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		cfg := mysql.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}
		log, _ := from(t, recorded.Load(t, recorded.Bank), cfg, "bank.account", "bank.tranfser", "Bank.Branch", "shop.*", "ban?.*")
		for range 2 {
			if tables, err := log.Tables(t.Context()); err != nil || len(tables) != 3 {
				t.Fatalf("tables %q, %v", tables, err)
			}
		}
		for _, want := range []string{
			`level=WARN msg="no table matches a wanted name" name=bank.tranfser cause="the server has no such table`,
			`level=WARN msg="no table matches a wanted name" name=Bank.Branch cause="the server spells the name in another case"`,
			`level=INFO msg="no table matches a wanted name" name=shop.* cause="the server has no such table`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("not logged: %s", want)
			}
		}
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, out.String())
		}
	})
}

func TestPrivilegesByRoleOrByAllAreEnough(t *testing.T) {
	for name, grant := range map[string]string{
		"all":   "GRANT ALL PRIVILEGES ON *.* TO `keystrand`@`%` IDENTIFIED BY PASSWORD '*X' WITH GRANT OPTION",
		"both":  "GRANT BINLOG MONITOR, REPLICATION SLAVE ON *.* TO `keystrand`@`%`",
		"other": "GRANT REPLICATION REPLICA, BINLOG MONITOR ON *.* TO `keystrand`@`%`",
		"role":  "GRANT `readers` TO `keystrand`@`%`",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, _ := from(t, recorded.Load(t, recorded.Bank).Set("grants", grant), mysql.Config{})
				if _, err := log.Identity(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWrongPasswordIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
		log, err := mysql.NewLog("recorded:3306", binlog.Filter{}, mysql.Config{User: recorded.User, Password: "wrong secret", Dial: s.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close() //nolint:errcheck // no connection
		_, err = log.Identity(t.Context())
		if err == nil || log.Temporary(err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want a final one without the password", err)
		}
	})
}

func TestNewReturnsAllConfigurationErrorsAtOnce(t *testing.T) {
	_, err := mysql.New("nowhere", []string{"shop"}, nil, mysql.Config{
		Name: "a/b", Heartbeat: -1, CatchUp: -1, TableBytes: -1, ServerID: 1<<32 - 1, Except: []string{"["},
		Start: mysql.File("bin", 1),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`address "nowhere"`, `"shop"`, "store is nil", `Name "a/b"`, "Heartbeat is negative", "CatchUp", "TableBytes", `Except: pattern "["`,
		"FilePosition is not set",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error has no %q:\n%v", want, err)
		}
	}
}
