package binlogbench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// MariaDB is a real server. Its tables are in a database of their own.
type MariaDB struct {
	client Client
	db     *sql.DB
	pid    int // 0: not known

	mu  sync.Mutex
	ids ids
}

// Open connects to the server of a data source name, such as user:password@tcp(host:3306)/, and creates a database.
func Open(ctx context.Context, dsn string) (*MariaDB, error) {
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("-dsn: %w", err)
	}
	name := fmt.Sprintf("keystrand_bench_%d", time.Now().UnixNano())
	m := &MariaDB{client: Client{c.Addr, c.User, c.Passwd, name}, ids: ids{}}
	c.DBName = ""
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, err
	}
	m.db = sql.OpenDB(connector)
	if _, err := m.db.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	var pidFile, dir string
	if m.db.QueryRowContext(ctx, "SELECT @@GLOBAL.pid_file, @@GLOBAL.datadir").Scan(&pidFile, &dir) == nil {
		if !filepath.IsAbs(pidFile) {
			pidFile = filepath.Join(dir, pidFile)
		}
		if text, err := os.ReadFile(pidFile); err == nil { // it is a server on this machine
			m.pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
	}
	return m, nil
}

// Client implements Primary.
func (m *MariaDB) Client() Client { return m.client }

// Create implements Primary.
func (m *MariaDB) Create(ctx context.Context, keys int, tables ...string) error {
	unique := ""
	if keys > 1 {
		unique = ", UNIQUE KEY code (code)"
	}
	for _, t := range tables {
		if _, err := m.db.ExecContext(ctx, fmt.Sprintf("CREATE TABLE %s.%s (id BIGINT NOT NULL, code BIGINT NOT NULL, customer INT NOT NULL, "+
			"state INT NOT NULL, note VARCHAR(4000) NOT NULL, PRIMARY KEY (id)%s)", m.client.Database, t, unique)); err != nil {
			return err
		}
	}
	return nil
}

// Write implements Primary.
func (m *MariaDB) Write(ctx context.Context, l Load) error {
	m.mu.Lock()
	all := m.ids.transactions(l)
	m.mu.Unlock()
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	if _, err := conn.ExecContext(ctx, "USE "+m.client.Database); err != nil {
		return err
	}
	for _, t := range all {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s SELECT seq, seq, seq %% 1000, 1, REPEAT('x', %d) FROM seq_%d_to_%d",
			t.table, l.text(), t.first, t.first+t.rows-1)); err != nil {
			return err
		}
	}
	return nil
}

// Place implements Primary.
func (m *MariaDB) Place(ctx context.Context) (place string, err error) {
	err = m.db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&place)
	return place, err
}

// CPU implements Primary.
func (m *MariaDB) CPU() time.Duration {
	const tick = 10 * time.Millisecond // Linux: 100 a second, whatever the kernel
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}

// Close implements Primary.
func (m *MariaDB) Close() error {
	_, err := m.db.ExecContext(context.Background(), "DROP DATABASE "+m.client.Database)
	return errors.Join(err, m.db.Close())
}
