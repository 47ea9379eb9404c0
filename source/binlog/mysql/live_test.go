package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// live is a database of a test on the real MariaDB.
type live struct {
	*testing.T
	addr, user, password string
	database             string
	db                   *sql.DB
}

// liveServer connects to the server of KEYSTRAND_MARIADB, and makes a database for the test.
func liveServer(t *testing.T) *live {
	t.Helper()
	dsn := os.Getenv("KEYSTRAND_MARIADB")
	if dsn == "" {
		t.Skip(`no server: run tools/services/services up mariadb, and eval "$(tools/services/services env)"`)
	}
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l := &live{T: t, addr: c.Addr, user: c.User, password: c.Passwd, database: fmt.Sprintf("binlog_%d", time.Now().UnixNano())}
	l.connect()
	l.exec("CREATE DATABASE " + l.database + " CHARACTER SET utf8mb4; USE " + l.database)
	t.Cleanup(func() {
		_, _ = l.db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+l.database)
		_ = l.db.Close()
	})
	return l
}

// connect opens a session on the server.
func (l *live) connect() {
	l.Helper()
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.MultiStatements = "tcp", l.addr, l.user, l.password, true
	connector, err := driver.NewConnector(c)
	if err != nil {
		l.Fatal(err)
	}
	l.db = sql.OpenDB(connector)
	l.db.SetMaxOpenConns(1) // one session, so that its settings stay
}

func (l *live) exec(query string, args ...any) {
	l.Helper()
	if _, err := l.db.ExecContext(l.Context(), query, args...); err != nil {
		l.Fatalf("%.200s: %v", query, err)
	}
}

// log returns the log, with the tables of the test's database.
func (l *live) log(cfg mysql.Config) mysql.Log {
	l.Helper()
	if cfg.User == "" {
		cfg.User, cfg.Password = l.user, l.password
	}
	cfg.Heartbeat = 500 * time.Millisecond
	log, err := mysql.NewLog(l.addr, binlog.Filter{Tables: []string{l.database + ".*"}}, cfg)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		if err := log.Close(); err != nil {
			l.Error(err)
		}
	})
	return log
}

func TestLiveUserWithoutPrivilegesIsToldWhatToGrant(t *testing.T) {
	l := liveServer(t)
	user := l.database
	l.exec("CREATE USER " + user + " IDENTIFIED BY 'secret'")
	t.Cleanup(func() { _, _ = l.db.ExecContext(context.Background(), "DROP USER "+user) })
	open := func() error {
		log := l.log(mysql.Config{User: user, Password: "secret"})
		at, err := log.Start(t.Context())
		if err != nil {
			return err
		}
		_, err = readAll(t, log, at, nil)
		return err
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.*") {
		t.Errorf("no privileges: %v", err)
	}
	l.exec("GRANT BINLOG MONITOR ON *.* TO " + user)
	if err := open(); err == nil || !strings.Contains(err.Error(), "GRANT REPLICATION SLAVE ON *.*") {
		t.Errorf("one privilege: %v", err)
	}
	l.exec("GRANT REPLICATION SLAVE ON *.* TO " + user)
	if err := open(); err != nil {
		t.Error(err)
	}
}

// Rows of one key value meet if their periods overlap, which no column tells.
// What a server answers depends on the bytes that it takes for the length of an event.
func TestLivePlaceInTheMiddleOfAnEventIsAnErrorThatNamesIt(t *testing.T) {
	l := liveServer(t)
	l.exec("CREATE TABLE a (n bigint PRIMARY KEY)")
	var file, skip string
	var pos uint64
	if err := l.db.QueryRowContext(t.Context(), "SHOW MASTER STATUS").Scan(&file, &pos, &skip, &skip); err != nil {
		t.Fatal(err)
	}
	l.exec("INSERT INTO a VALUES (1)")
	log := l.log(mysql.Config{FilePosition: true, Start: mysql.File(file, pos+7)})
	at, err := log.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t, log, at, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprint("position ", pos+7)) {
		t.Errorf("the place 7 bytes into an event at %d: %v", pos, err)
	}
}

func TestLiveTableWithAKeyOfPeriodsIsOneLane(t *testing.T) {
	l := liveServer(t)
	log := l.log(mysql.Config{})
	at, err := log.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const columns = "(id int, a date, b date, u int, PERIOD FOR p (a, b), "
	l.exec("CREATE TABLE prim " + columns + "PRIMARY KEY (id, p WITHOUT OVERLAPS)); " +
		"CREATE TABLE uniq " + columns + "PRIMARY KEY (u), UNIQUE KEY k (id, p WITHOUT OVERLAPS)); " +
		"CREATE TABLE dates (id int, a date, b date, u int, PRIMARY KEY (id, a, b))")
	for _, table := range []string{"prim", "uniq", "dates"} {
		l.exec("INSERT INTO " + table + " VALUES (1, '2024-01-01', '2024-02-01', 1)")
	}
	all, err := readAll(t, log, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	for table, whole := range map[string]bool{"prim": true, "uniq": true, "dates": false} {
		rows := rowsOf(all, l.database+"."+table)
		if len(rows) != 1 || rows[0].Table.Whole != whole {
			t.Errorf("%s: %d rows, keys %v, want one lane: %v", table, len(rows), rows[0].Table.Keys, whole)
		}
	}
}

// It may not see how the server replicates, only whether it does.
func TestLiveUserOfFewPrivilegesLearnsWhetherTheServerReplicates(t *testing.T) {
	l := liveServer(t)
	user := l.database
	l.exec("CREATE USER " + user + " IDENTIFIED BY 'secret'; GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO " + user)
	t.Cleanup(func() { _, _ = l.db.ExecContext(context.Background(), "DROP USER "+user) })
	for _, u := range [][2]string{{user, "secret"}, {l.user, l.password}} {
		replica, err := mysql.IsReplica(t.Context(), l.addr, mysql.Config{User: u[0], Password: u[1]})
		if err != nil || replica {
			t.Errorf("%s: the primary is a replica: %v, %v", u[0], replica, err)
		}
	}
}
