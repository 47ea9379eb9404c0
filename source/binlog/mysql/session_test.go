package mysql_test

import (
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func TestSessionOfAStatementTellsItsModeAndCharset(t *testing.T) {
	const flags, mode, catalog, increment = "\x00\x01\x02\x03\x04", "\x01\x00\x00\x10\x00\x00\x00\x00\x00", "\x06\x03std", "\x03\x01\x00\x01\x00"
	for name, c := range map[string]struct {
		status            string
		noBackslash, utf8 bool
	}{
		"none":         {"", false, true},
		"mode":         {flags + mode + catalog, true, true},
		"latin1":       {flags + catalog + increment + "\x04\x08\x00\x08\x00\x08\x00", false, false},
		"utf8mb4":      {flags + mode + catalog + "\x04\x2d\x00\x2d\x00\x08\x00", true, true},
		"utf8mb3":      {"\x04\x21\x00\x21\x00\x08\x00", false, true},
		"utf8mb4 0900": {"\x04\xff\x00\xff\x00\x08\x00", false, true},
		"gbk":          {"\x02\x03std\x00\x04\x1c\x00\x1c\x00\x1c\x00", false, false},
		"cut":          {flags + "\x01\x00\x00", false, true},
		"unknown":      {"\xf0\x04\x08\x00\x08\x00\x08\x00", false, true},
	} {
		if noBackslash, utf8 := mysql.SessionOf([]byte(c.status)); noBackslash != c.noBackslash || utf8 != c.utf8 {
			t.Errorf("%s: no backslash escapes %v, UTF-8 %v, want %v, %v", name, noBackslash, utf8, c.noBackslash, c.utf8)
		}
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
