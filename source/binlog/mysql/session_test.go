package mysql_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func TestSessionOfAStatementTellsItsModeAndCharset(t *testing.T) {
	const flags, mode, catalog, increment = "\x00\x01\x02\x03\x04", "\x01\x00\x00\x10\x00\x00\x00\x00\x00", "\x06\x03std", "\x03\x01\x00\x01\x00"
	for name, c := range map[string]struct {
		status      string
		noBackslash bool
		collation   uint64
	}{
		"none":    {"", false, 0},
		"mode":    {flags + mode + catalog, true, 0},
		"latin1":  {flags + catalog + increment + "\x04\x08\x00\x08\x00\x08\x00", false, 8},
		"both":    {flags + mode + catalog + "\x04\x2d\x00\x2d\x00\x08\x00", true, 45},
		"large":   {"\x04\xff\x01\xff\x00\x08\x00", false, 511},
		"old":     {"\x02\x03std\x00\x04\x1c\x00\x1c\x00\x1c\x00", false, 28},
		"cut":     {flags + "\x01\x00\x00", false, 0},
		"unknown": {"\xf0\x04\x08\x00\x08\x00\x08\x00", false, 0},
	} {
		if noBackslash, collation := mysql.SessionOf([]byte(c.status)); noBackslash != c.noBackslash || collation != c.collation {
			t.Errorf("%s: no backslash escapes %v, collation %d, want %v, %d", name, noBackslash, collation, c.noBackslash, c.collation)
		}
	}
}

// The text of a statement is in the character set of its session.
func TestStatementIsDecodedFromTheCharsetOfItsSession(t *testing.T) {
	const latin1, gbk, swe7 = "\x04\x08\x00\x08\x00\x08\x00", "\x04\x1c\x00\x1c\x00\x08\x00", "\x04\x0a\x00\x0a\x00\x08\x00"
	for name, c := range map[string]struct{ status, query, want string }{
		"latin1":  {latin1, "ALTER TABLE caf\xe9 COMMENT '\xfc'", "[suite.café] ALTER TABLE café COMMENT 'ü'"},
		"gbk":     {gbk, "ALTER TABLE t0 COMMENT '\xd5\x5c'", "[suite.t0] ALTER TABLE t0 COMMENT '誠'"}, // the second byte is a backslash
		"unknown": {swe7, "ALTER TABLE t\xc5", "[] ALTER TABLE t\xc5"},
		"UTF-8":   {"", "ALTER TABLE `ü`", "[suite.ü] ALTER TABLE `ü`"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
				m := newMaker(t, s, "suite", "t0")
				m.statementOf("suite", c.query, c.status)
				for _, e := range mustRead(t, log) {
					if e.Kind == demux.Statement {
						if got := fmt.Sprint(e.DDL.Tables, " ", e.DDL.Query); got != c.want {
							t.Errorf("%q, want %q", got, c.want)
						}
					}
				}
			})
		})
	}
}

// A server that ignores the case of names writes those of rows in lower case, and statements as they were sent.
func TestStatementNamesAreFoldedAsTheServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank).Set("lower_case_table_names", "1"), mysql.Config{}, "suite.*")
		m := newMaker(t, s, "suite", "t0")
		m.statement("suite", "ALTER TABLE T0 COMMENT 'x'")
		for _, e := range mustRead(t, log) {
			if e.Kind == demux.Statement && (len(e.DDL.Tables) != 1 || e.DDL.Tables[0] != "suite.t0") {
				t.Errorf("tables %q, want suite.t0", e.DDL.Tables)
			}
		}
	})
}

// MariaDB logs it for any session that had a temporary table and a binlog_format other than ROW, in whatever database.
func TestEndOfASessionWithATemporaryTableConcernsNoTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
		m := newMaker(t, s, "suite", "t0")
		m.statement("elsewhere", "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `tmp`")
		for _, e := range mustRead(t, log) {
			if e.Kind == demux.Statement {
				t.Errorf("statement %q of tables %v", e.DDL.Query, e.DDL.Tables)
			}
		}
	})
}

func TestUnreadableStatementMayConcernAnyTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
		m := newMaker(t, s, "suite", "t0")
		m.statement("suite", "FROBNICATE t0")
		found := false
		for _, e := range mustRead(t, log) {
			if e.Kind == demux.Statement {
				found = true
				if e.DDL.Tables != nil || e.DDL.Query != "FROBNICATE t0" {
					t.Errorf("%+v, want no tables", e.DDL)
				}
			}
		}
		if !found {
			t.Error("the statement is missing")
		}
	})
}
