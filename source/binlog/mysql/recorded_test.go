package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// from returns a log of a recording in memory, and its server. It reads all tables from the oldest transaction on, unless cfg or
// the filter say other. It may run in a synctest bubble.
func from(t *testing.T, r *recorded.Recording, cfg mysql.Config, wanted ...string) (mysql.Log, *recorded.Server) {
	t.Helper()
	s := recorded.Pipe(t, r)
	s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
	cfg.User, cfg.Password, cfg.Dial = recorded.User, recorded.Password, s.DialContext
	if cfg.Start == mysql.End() {
		cfg.Start = mysql.Oldest()
	}
	log, err := mysql.NewLog("recorded:3306", binlog.Filter{Tables: wanted}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log, s
}

// answer answers what a recording does not.
func answer(t *testing.T, r *recorded.Recording, query string) (*recorded.Table, error) {
	t.Helper()
	switch {
	case strings.Contains(query, "gtid_purged"): // before the first file that is left
		text := ""
		for _, e := range r.Files[0].Events {
			if e.Type() == replication.PREVIOUS_GTIDS_EVENT {
				set, err := gomysql.DecodeMysqlGTIDSet(e.Body())
				if err != nil {
					t.Error(err)
				}
				text = set.String()
			}
		}
		return &recorded.Table{Columns: []string{"gtid_purged"}, Rows: [][]any{{text}}}, nil
	case strings.Contains(query, "FULL_COLLATION_NAME") && r.Flavor == recorded.MySQL:
		return nil, gomysql.NewError(gomysql.ER_BAD_FIELD_ERROR, "Unknown column 'FULL_COLLATION_NAME' in 'field list'")
	case strings.Contains(query, "information_schema.COLLATION"):
		text, err := os.ReadFile("testdata/collations.tsv")
		if err != nil {
			t.Error(err)
		}
		table := &recorded.Table{Columns: []string{"ID", "FULL_COLLATION_NAME", "CHARACTER_SET_NAME"}}
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			table.Rows = append(table.Rows, []any{cells[0], cells[1], cells[2]})
		}
		return table, nil
	case strings.Contains(query, "information_schema.TABLES"):
		table := &recorded.Table{Columns: []string{"TABLE_SCHEMA", "TABLE_NAME"}}
		seen := make(map[string]bool)
		database, name := slices.Index(r.Columns.Columns, "TABLE_SCHEMA"), slices.Index(r.Columns.Columns, "TABLE_NAME")
		for _, row := range r.Columns.Rows {
			if key := fmt.Sprint(row[database], ".", row[name]); !seen[key] {
				seen[key] = true
				table.Rows = append(table.Rows, []any{row[database], row[name]})
			}
		}
		return table, nil
	case strings.Contains(query, "BINLOG_GTID_POS"): // before the first transaction that is left
		g := recorded.GTID{}
		for _, e := range r.Events() {
			var ok bool
			if g, ok = e.GTID(); ok {
				break
			}
		}
		text := ""
		if g.Sequence > 1 {
			g.Sequence--
			text = g.String()
		}
		return &recorded.Table{Columns: []string{"BINLOG_GTID_POS"}, Rows: [][]any{{text}}}, nil
	}
	return nil, nil //nolint:nilnil // the recording answers
}

// readAll returns copies of all events behind a place, and the error that ends them, nil at the end of the log. An empty place
// is the start.
func readAll(t *testing.T, log mysql.Log, after demux.Place, tables map[string]demux.Known) ([]demux.Event, error) {
	t.Helper()
	if after == "" {
		var err error
		if after, err = log.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := log.Open(t.Context(), after, tables)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	return drain(t.Context(), r)
}

func drain(ctx context.Context, r demux.Reader) ([]demux.Event, error) {
	var all []demux.Event
	for {
		e, err := r.Next(ctx)
		if err != nil {
			return all, err
		}
		if e.Kind == demux.Idle {
			return all, nil
		}
		all = append(all, *e)
	}
}

// mustRead returns the events of a whole log without faults.
func mustRead(t *testing.T, log mysql.Log) []demux.Event {
	t.Helper()
	all, err := readAll(t, log, "", nil)
	for _, e := range all {
		err = errors.Join(err, e.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rowsOf returns the rows of a table.
func rowsOf(all []demux.Event, table string) []binlog.Row {
	var rows []binlog.Row
	for _, e := range all {
		if e.Kind == demux.Rows && e.Rows[0].Table.String() == table {
			rows = append(rows, e.Rows...)
		}
	}
	return rows
}
