package mysql_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

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
