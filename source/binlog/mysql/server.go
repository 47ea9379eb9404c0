package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	driver "github.com/go-sql-driver/mysql"
)

// server answers questions about the server, beside the connections that read its log. It is safe for concurrent use.
type server struct {
	addr  string
	files bool // places are positions in files
	db    *sql.DB
}

func newServer(addr string, cfg Config) (*server, error) {
	c := driver.NewConfig()
	c.User, c.Passwd = cfg.User, cfg.Password
	c.Net, c.Addr, c.TLS = network(addr), addr, cfg.TLS
	c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, queryTimeout, queryTimeout
	c.InterpolateParams = true // no prepared statements: one question, one answer
	c.Logger = &driver.NopLogger{}
	c.DialFunc = cfg.Dial
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("mysql: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(idleTimeout)
	return &server{addr: addr, files: cfg.FilePosition, db: db}, nil
}

// facts are variables of the server by their names in lower case.
type facts map[string]string

func (f facts) mariadb() bool { return strings.Contains(f["version"], "MariaDB") }

// foldsNames reports whether the server ignores the case of the names of tables.
func (f facts) foldsNames() bool {
	return f["lower_case_table_names"] != "0" && f["lower_case_table_names"] != ""
}

func (f facts) flavor() string {
	if f.mariadb() {
		return gomysql.MariaDBFlavor
	}
	return gomysql.MySQLFlavor
}

// atLeast compares the version.
func (f facts) atLeast(major, minor int) bool {
	parts := strings.SplitN(f["version"], ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

// id names this server among those that share its history.
func (f facts) id() string {
	if uuid := f["server_uuid"]; uuid != "" {
		return uuid
	}
	return fmt.Sprintf("%s@%s:%s", f["server_id"], f["hostname"], f["port"])
}

func (s *server) facts(ctx context.Context) (facts, error) {
	rows, err := s.query(ctx, `SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_id', 'server_uuid', 'hostname', 'port', `+
		`'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'binlog_row_value_options', 'gtid_mode', 'lower_case_table_names', `+
		`'log_slave_updates', 'log_replica_updates')`)
	if err != nil {
		return nil, err
	}
	f := make(facts, len(rows))
	for _, r := range rows {
		if len(r) >= 2 {
			f[strings.ToLower(r[0])] = r[1]
		}
	}
	if f["version"] == "" {
		return nil, fmt.Errorf("server %s: it does not tell its version", s.addr)
	}
	return f, nil
}

// isReplica reports whether the server is set up to replicate another one. A user of MariaDB who may not see that sees only
// whether it replicates now.
func (s *server) isReplica(ctx context.Context, f facts) (bool, error) {
	statement := "SHOW ALL SLAVES STATUS"
	if !f.mariadb() {
		statement = "SHOW REPLICA STATUS"
	}
	rows, err := s.query(ctx, statement)
	switch n, _ := code(err); n {
	case gomysql.ER_PARSE_ERROR: // MySQL before 8.0.22
		rows, err = s.query(ctx, "SHOW SLAVE STATUS")
	case gomysql.ER_SPECIFIC_ACCESS_DENIED_ERROR:
		rows, err = s.query(ctx, "SHOW GLOBAL STATUS WHERE Variable_name = 'Slaves_running' AND Value <> '0'")
	}
	return len(rows) > 0, err
}

// end returns the place behind the last transaction of the log.
func (s *server) end(ctx context.Context, f facts) (place, error) {
	switch {
	case s.files:
		statement := "SHOW MASTER STATUS"
		if !f.mariadb() && f.atLeast(8, 4) {
			statement = "SHOW BINARY LOG STATUS"
		}
		file, pos, err := s.file(ctx, statement)
		return filePlace{f.id(), file, pos}, err
	case f.mariadb():
		text, err := s.value(ctx, "SELECT @@GLOBAL.gtid_binlog_pos")
		if err != nil {
			return nil, err
		}
		return parseMariadbPlace(text)
	default:
		text, err := s.value(ctx, "SELECT @@GLOBAL.gtid_executed")
		if err != nil {
			return nil, err
		}
		return parseMysqlPlace(text)
	}
}

// oldest returns the place before the first transaction of the log that the server still has.
func (s *server) oldest(ctx context.Context, f facts) (place, error) {
	if !s.files && !f.mariadb() {
		text, err := s.value(ctx, "SELECT @@GLOBAL.gtid_purged")
		if err != nil {
			return nil, err
		}
		return parseMysqlPlace(text)
	}
	file, _, err := s.file(ctx, "SHOW BINARY LOGS")
	if err != nil || s.files {
		return filePlace{f.id(), file, 4}, err
	}
	text, err := s.value(ctx, "SELECT BINLOG_GTID_POS(?, 4)", file)
	if err != nil {
		return nil, err
	}
	return parseMariadbPlace(text)
}

// file asks for a file and a position or size.
func (s *server) file(ctx context.Context, statement string) (string, uint64, error) {
	rows, err := s.query(ctx, statement)
	if err != nil {
		return "", 0, err
	}
	if len(rows) == 0 || len(rows[0]) < 2 || !numbered(rows[0][0]) {
		return "", 0, fmt.Errorf("server %s: %s names no file: the server writes no log", s.addr, statement)
	}
	pos, err := strconv.ParseUint(rows[0][1], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("server %s: %s: position %q: %w", s.addr, statement, rows[0][1], err)
	}
	return rows[0][0], pos, nil
}

// tables returns all tables as database and name.
func (s *server) tables(ctx context.Context) ([][]string, error) {
	return s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE')")
}

// collation is a collation of the server.
type collation struct{ name, charset string }

// collations returns the collations by their numbers.
func (s *server) collations(ctx context.Context) (map[uint64]collation, error) {
	rows, err := s.query(ctx, "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY")
	if me, ok := errors.AsType[*driver.MySQLError](err); ok && me.Number == gomysql.ER_BAD_FIELD_ERROR { // MySQL, and MariaDB before 10.10
		rows, err = s.query(ctx, "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS")
	}
	if err != nil {
		return nil, err
	}
	all := make(map[uint64]collation, len(rows))
	for _, r := range rows {
		if id, err := strconv.ParseUint(r[0], 10, 64); err == nil { // NULL: an abstract one
			all[id] = collation{r[1], r[2]}
		}
	}
	return all, nil
}

func (s *server) value(ctx context.Context, query string, args ...any) (string, error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("server %s: %s: no single value", s.addr, query)
	}
	return rows[0][0], nil
}

// query returns all rows. NULL is an empty string.
func (s *server) query(ctx context.Context, query string, args ...any) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	fail := func(err error) error {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return fmt.Errorf("server %s: %s: %w", s.addr, query, err)
	}
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fail(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells it
	columns, err := rows.Columns()
	if err != nil {
		return nil, fail(err)
	}
	var all [][]string
	for rows.Next() {
		values, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, fail(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = v.String
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fail(err)
	}
	return all, nil
}

func (s *server) close() error { return s.db.Close() }

// network returns the network of an address: a path is a socket of this machine.
func network(addr string) string {
	if strings.HasPrefix(addr, "/") {
		return "unix"
	}
	return "tcp"
}
