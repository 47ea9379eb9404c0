package mysql_test

import (
	"strings"
	"testing"
	"testing/synctest"

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
