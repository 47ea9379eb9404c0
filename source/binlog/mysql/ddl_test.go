package mysql_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// With binlog_alter_two_phase, MariaDB logs an ALTER when it begins and when it ends, also when it fails.
func TestAlterInTwoPhasesIsHandedOutOnceWhenItHasHappened(t *testing.T) {
	for _, files := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, _ := from(t, recorded.Load(t, recorded.Phases), mysql.Config{FilePosition: files}, "phases.t")
			var got []string
			for _, e := range mustRead(t, log) {
				switch e.Kind {
				case demux.Statement:
					got = append(got, strings.TrimPrefix(strings.Split(e.DDL.Query, ",")[0], "ALTER TABLE t "))
				case demux.Rows:
					got = append(got, fmt.Sprint(len(e.Rows[0].After), " columns"))
				case demux.End, demux.Defined, demux.Fault, demux.Idle:
				}
			}
			want := []string{
				"CREATE TABLE t (id int PRIMARY KEY", "2 columns", "ADD COLUMN y int", "3 columns", "3 columns", "DROP COLUMN x", "COMMENT = 'at once'", "2 columns",
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestStatementsComeInTheirPlaceAndRowsHaveTheColumnsOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.DDL), mysql.Config{}, "shop.*", "other.*")
		var b strings.Builder
		for _, e := range mustRead(t, log) {
			switch e.Kind {
			case demux.Statement:
				fmt.Fprintf(&b, "%q %.40q\n", e.DDL.Tables, strings.Join(strings.Fields(e.DDL.Query), " "))
			case demux.Rows:
				fmt.Fprintf(&b, "%s", e.Rows[0].Table)
				for _, row := range e.Rows {
					var names []string
					for _, c := range row.Table.Columns {
						names = append(names, c.Name)
					}
					fmt.Fprintf(&b, " %s%q%v", row.Kind, names, row.After)
				}
				fmt.Fprintf(&b, " keys=%v whole=%v\n", e.Rows[0].Table.Keys, e.Rows[0].Table.Whole)
			case demux.End, demux.Defined, demux.Fault, demux.Idle:
			}
		}
		want, err := os.ReadFile("testdata/ddl.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want) {
			t.Errorf("what the log tells differs from testdata/ddl.txt:\n%s", got)
		}
	})
}
