package binlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source/binlog"
)

// TestLiveDuplicateKeysShareALane asks a server which values are duplicates in a unique index. Rows with such values must share
// a lane.
func TestLiveDuplicateKeysShareALane(t *testing.T) {
	dsn := os.Getenv("KEYSTRAND_MARIADB")
	if dsn == "" {
		t.Skip(`KEYSTRAND_MARIADB is not set: run tools/services/services up mariadb && eval "$(tools/services/services env)"`)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // temporary tables belong to the connection
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), "SET NAMES utf8mb4, sql_mode = ''"); err != nil {
		t.Fatal(err)
	}
	texts := []any{
		"a", "A", "a ", "á", "ä", "ae", "Æ", "ß", "s", "ss", "SS ", "😀", "🎉", "", " ", "\u00ad", "ab", "abc", "abd", "ABÇ", "aa", "å", "ü", "y", "ue",
		"カ", "か", "ガ", "１", "1", "①", "❶", "漢", "и", "й", "Е", "ё", "n", "ñ", "ch", "c", "ı", "I", "i", "a\u0301b", "áb", "-", "[", "a-b", "ǆ", "dž",
	}
	numbers := []any{"0", "-0", "0.0", "1", "1.0", "-1", "1e0", "0.1", "127", "1e-320", "255"}
	for _, test := range []struct {
		column string // its definition
		prefix int
		values []any
		like   binlog.Column
	}{
		{"VARCHAR(20) COLLATE utf8mb4_general_ci", 0, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_general_ci"}},
		{"VARCHAR(20) COLLATE utf8mb4_general_nopad_ci", 0, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_general_nopad_ci"}},
		{"CHAR(20) COLLATE utf8mb4_unicode_ci", 0, texts, binlog.Column{Type: "char", Collation: "utf8mb4_unicode_ci"}},
		{"VARCHAR(20) COLLATE utf8mb4_unicode_520_ci", 2, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_unicode_520_ci"}},
		{"TEXT COLLATE utf8mb4_german2_ci", 2, texts, binlog.Column{Type: "text", Collation: "utf8mb4_german2_ci"}},
		{"TEXT COLLATE utf8mb4_general_ci", 0, texts, binlog.Column{Type: "text", Collation: "utf8mb4_general_ci"}},
		{"VARCHAR(20) COLLATE utf8mb4_danish_ci", 0, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_danish_ci"}},
		{"VARCHAR(20) COLLATE uca1400_ai_ci", 1, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_uca1400_ai_ci"}},
		{"VARCHAR(20) COLLATE utf8mb4_bin", 0, texts, binlog.Column{Type: "varchar", Collation: "utf8mb4_bin"}},
		{"VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci", 2, texts, binlog.Column{Type: "varchar", Collation: "latin1_swedish_ci"}},
		{"VARCHAR(20) CHARACTER SET gbk COLLATE gbk_chinese_ci", 1, texts, binlog.Column{Type: "varchar", Collation: "gbk_chinese_ci"}},
		{"VARBINARY(20)", 2, texts, binlog.Column{Type: "varbinary"}},
		{"BINARY(20)", 0, texts, binlog.Column{Type: "binary"}},
		{"BLOB", 3, texts, binlog.Column{Type: "blob"}},
		{"BLOB", 0, texts, binlog.Column{Type: "blob"}},
		{"ENUM('a','ä','x') COLLATE utf8mb4_bin", 0, texts, binlog.Column{Type: "enum", Collation: "utf8mb4_bin"}},
		{"SET('a','b','c') COLLATE utf8mb4_general_ci", 0, []any{"a", "A,b", "b,a", "c", ""}, binlog.Column{Type: "set", Collation: "utf8mb4_general_ci"}},
		{"DOUBLE", 0, numbers, binlog.Column{Type: "double"}},
		{"FLOAT", 0, numbers, binlog.Column{Type: "float"}},
		{"DECIMAL(20,5)", 0, numbers, binlog.Column{Type: "decimal"}},
		{"TINYINT UNSIGNED", 0, numbers, binlog.Column{Type: "tinyint", Unsigned: true}},
		{"TIME(2)", 0, []any{"00:00:00", "-00:00:00.00", "-00:00:00.001", "24:00:00"}, binlog.Column{Type: "time"}},
		{"DATETIME(3)", 0, []any{"2024-02-00", "2024-02-00 00:00:00.000", "0000-00-00", "2024-02-01 00:00:00.0004"}, binlog.Column{Type: "datetime"}},
	} {
		index := "UNIQUE (v)"
		if test.prefix > 0 {
			index = fmt.Sprintf("UNIQUE (v(%d))", test.prefix)
		}
		t.Run(test.column+" "+index, func(t *testing.T) {
			exec := func(query string, args ...any) error {
				_, err := db.ExecContext(t.Context(), query, args...)
				return err
			}
			if err := exec("CREATE OR REPLACE TEMPORARY TABLE one (v " + test.column + ", " + index + ")"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP TEMPORARY TABLE one") }) // after the end of t.Context
			test.like.Name = "v"
			table := &binlog.Table{Columns: []binlog.Column{test.like}, Keys: []binlog.UniqueKey{{Name: "v", Columns: []int{0}, Prefixes: []int{test.prefix}}}}

			// read returns the value that the table holds, as in a row, and its lane.
			read := func() (any, string) {
				var raw []byte
				if err := db.QueryRowContext(t.Context(), "SELECT v FROM one").Scan(&raw); err != nil {
					t.Fatal(err)
				}
				v := valueOf(t, test.like, raw)
				return v, strings.Join(lanesOf(t, message(&binlog.Row{Table: table, Kind: binlog.Insert, After: []any{v}})), " ")
			}
			type stored struct {
				value any
				lane  string
			}
			var all []stored
			for _, v := range test.values {
				if err := errors.Join(exec("DELETE FROM one"), exec("INSERT INTO one VALUES (?)", v)); err != nil {
					continue // the column cannot hold it
				}
				value, lane := read()
				all = append(all, stored{value, lane})
			}
			duplicates, lanes := 0, map[string]bool{}
			for i, a := range all {
				lanes[a.lane] = true
				if err := errors.Join(exec("DELETE FROM one"), exec("INSERT INTO one VALUES (?)", a.value)); err != nil {
					t.Fatal(err)
				}
				for _, b := range all[i+1:] {
					err := exec("INSERT INTO one VALUES (?)", b.value)
					if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1062 {
						duplicates++
						if a.lane != b.lane && a.lane != "barrier" && b.lane != "barrier" {
							t.Errorf("%q and %q are duplicates, but have the lanes %q and %q", a.value, b.value, a.lane, b.lane)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(exec("DELETE FROM one"), exec("INSERT INTO one VALUES (?)", a.value)); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d values, %d duplicates, %d lanes", len(all), duplicates, len(lanes))
			if len(all) < 3 || len(lanes) < 2 {
				t.Error("the server has stored too few values")
			}
		})
	}
}

// valueOf returns a value of a row from the server's text for it.
func valueOf(t *testing.T, c binlog.Column, raw []byte) any {
	t.Helper()
	var v any
	var err error
	switch c.Type {
	case "double", "float":
		v, err = strconv.ParseFloat(string(raw), 64)
	case "tinyint":
		v, err = strconv.ParseUint(string(raw), 10, 64)
	case "varbinary", "binary", "blob":
		v = slices.Clone(raw)
	default:
		v = string(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}
