package recorded_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

func TestServerAnswersStatements(t *testing.T) {
	s := recorded.Serve(t, recorded.Load(t, recorded.Bank).Set("binlog_row_image", "MINIMAL"))
	s.OnQuery = func(query string, _ []any) (*recorded.Table, error) {
		if query == "SELECT count(*) FROM anything" {
			return &recorded.Table{Columns: []string{"n"}, Rows: [][]any{{"7"}}}, nil
		}
		return nil, nil
	}
	db := open(t, s)
	last := s.Recording().Files[len(s.Recording().Files)-1]
	for _, c := range []struct {
		query string
		args  []any
		want  string
	}{
		{"SELECT 1", nil, "1"},
		{"SELECT @@global.binlog_format, @@binlog_row_image AS image, @@log_bin", nil, "ROW MINIMAL 1"},
		{"SHOW GLOBAL VARIABLES LIKE 'binlog\\_row%';", nil, "binlog_row_image MINIMAL; binlog_row_metadata FULL"},
		{"SHOW VARIABLES WHERE Variable_name IN ('server_id', 'log_bin')", nil, "log_bin ON; server_id 1"},
		{"SHOW MASTER STATUS", nil, fmt.Sprintf("%s %d  ", last.Name, last.Events[len(last.Events)-1].End())},
		{"SHOW GRANTS FOR CURRENT_USER()", nil, "GRANT ALL PRIVILEGES ON *.* TO `keystrand`@`%`"},
		{"SELECT count(*) FROM anything", nil, "7"},
		{
			"SELECT column_name, c.`column_type` FROM `information_schema`.`columns` c WHERE table_schema = 'bank' AND table_name = 'account' ORDER BY ordinal_position",
			nil, "id int(11); name varchar(20); balance decimal(12,2)",
		},
		{"SELECT index_name, column_name, sub_part FROM information_schema.statistics WHERE table_schema = ? AND table_name IN (?, ?) AND non_unique = ? " +
			"ORDER BY table_name, index_name", []any{"bank", "account", "transfer", 0}, "name name NULL; PRIMARY id NULL; PRIMARY n NULL"},
		{"SELECT table_name FROM information_schema.statistics WHERE (table_schema, table_name) IN ((?, ?), ('bank', 'none'))", []any{"bank", "transfer"}, "transfer"},
		{"SELECT column_name FROM information_schema.columns WHERE table_schema = 'it''s'", nil, ""},
	} {
		if got := rows(t, db, c.query, c.args...); got != c.want {
			t.Errorf("%s = %q, want %q", c.query, got, c.want)
		}
	}
}

func TestServerRefusesStatementsThatItDoesNotKnow(t *testing.T) {
	db := open(t, recorded.Serve(t, recorded.Load(t, recorded.Bank)))
	for _, query := range []string{
		"INSERT INTO t VALUES (1)",
		"SELECT x FROM bank.account",
		"SELECT nothing FROM information_schema.columns",
		"SELECT column_name FROM information_schema.columns WHERE table_name LIKE 'a%'",
		"SELECT column_name FROM information_schema.columns LIMIT 1",
		"SELECT @@no_such_variable",
		"SELECT",
		"KILL 77777777",
	} {
		if _, err := db.ExecContext(t.Context(), query); err == nil {
			t.Errorf("%s: no error", query)
		}
	}
}

func open(t *testing.T, s *recorded.Server) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", recorded.User, recorded.Password, s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// rows returns cells with spaces between, and rows with semicolons.
func rows(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	result, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = result.Close() }()
	names, err := result.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for result.Next() {
		cells, places := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range cells {
			places[i] = &cells[i]
		}
		if err := result.Scan(places...); err != nil {
			t.Fatal(err)
		}
		var row []string
		for _, c := range cells {
			if !c.Valid {
				c.String = "NULL"
			}
			row = append(row, c.String)
		}
		all = append(all, strings.Join(row, " "))
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "; ")
}
