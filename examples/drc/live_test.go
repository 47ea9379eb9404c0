package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// watcher ends the watch once the tables are shown with as many changes as they have.
type watcher struct {
	*regexp.Regexp
	end context.CancelFunc
}

func (w watcher) Write(line []byte) (int, error) {
	if w.Match(line) {
		w.end()
	}
	return len(line), nil
}

// One table gets more changes than it may take, the other gets rows, a statement, and rows with another column.
func TestLiveSlowTableOfAServerHoldsUpNoOther(t *testing.T) {
	dsn := os.Getenv("KEYSTRAND_MARIADB")
	if dsn == "" {
		t.Skip(`no server: run tools/services/services up mariadb, and eval "$(tools/services/services env)"`)
	}
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c.DBName, c.MultiStatements = "", true
	db, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	c.DBName = fmt.Sprintf("example_%d", time.Now().UnixNano())
	t.Cleanup(func() {
		_, _ = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+c.DBName)
		_ = db.Close()
	})
	var begin string
	if err := db.QueryRowContext(t.Context(), "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&begin); err != nil {
		t.Fatal(err)
	}
	const rows, slowRows = 300, 2000
	if _, err := db.ExecContext(t.Context(), strings.ReplaceAll(fmt.Sprintf(`CREATE DATABASE DB;
		CREATE TABLE DB.fast (n int PRIMARY KEY);
		CREATE TABLE DB.slow (n int PRIMARY KEY);
		INSERT INTO DB.slow SELECT seq FROM DB.seq_1_to_%d;
		INSERT INTO DB.fast SELECT seq FROM DB.seq_1_to_%d;
		ALTER TABLE DB.fast ADD COLUMN v int;
		UPDATE DB.fast SET v = n`, slowRows, rows), "DB", c.DBName)); err != nil {
		t.Fatal(err)
	}

	ctx, end := context.WithCancel(t.Context())
	defer end()
	const fast = 1 + rows + 1 + rows // two statements
	shown := watcher{regexp.MustCompile(fmt.Sprintf(`%s\.fast +%d changes`, c.DBName, fast)), end}
	w := &watch{dsn: c.FormatDSN(), start: mysql.GTIDs(begin), slow: c.DBName + ".slow", out: show.NewOutput(shown)}
	r, err := w.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.writeJSON(&text); err != nil {
		t.Fatal(err)
	}
	figures := make(map[string]float64)
	if err := json.Unmarshal(text.Bytes(), &figures); err != nil {
		t.Fatal(err)
	}
	if figures["tables"] != 2 || figures["rows"] < fast || figures["rows"] >= fast+slowRows || figures["per_s"] <= 0 ||
		figures["slow_table_lag"] <= 0 || figures["other_tables_lag"] != 0 {
		t.Errorf("%s, want 2 tables with at least %d changes, and only the slow one behind", text.Bytes(), fast)
	}
}
