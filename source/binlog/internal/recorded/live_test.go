package recorded_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

// The log of a real server is read whole and served again. Both servers have to send the same bytes to every reader.
func TestLiveServerSendsWhatMariaDBSends(t *testing.T) {
	url := os.Getenv("KEYSTRAND_MARIADB")
	if url == "" {
		t.Skip("KEYSTRAND_MARIADB is not set: run tools/services/services up mariadb; eval \"$(tools/services/services env)\"")
	}
	db, err := sql.Open("mysql", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	file, states := write(t, db)
	mariadb := liveConfig(t, url)
	end := strings.Fields(rows(t, db, "SHOW MASTER STATUS"))
	pos, err := strconv.ParseUint(end[1], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	r := download(t, mariadb, file, end[0], uint32(pos), rows(t, db, "SELECT version()"))
	s := recorded.Serve(t, r)
	var places []place
	places = append(places, place{file: file, pos: 4}, place{file: end[0], pos: 4})
	for n := 0; n < len(r.Files[0].Events); n += 7 {
		places = append(places, place{file: file, pos: uint32(r.Files[0].Events[n].Start)})
	}
	for _, state := range states {
		places = append(places, place{gtids: state})
	}
	for _, p := range places {
		want := p.read(t, mariadb, end[0], uint32(pos))
		got := p.read(t, config(s), end[0], uint32(pos))
		if got != want {
			t.Errorf("from %+v: the server sends\n%swant\n%s", p, got, want)
		}
	}
	for _, p := range []place{{file: "none.000001", pos: 4}, {file: file, pos: 1 << 31}, {file: file, pos: 300}, {gtids: "0-1-18446744073709551000"}} {
		want, got := new(mysql.MyError), new(mysql.MyError)
		if !errors.As(p.open(t, mariadb).fails(), &want) || !errors.As(p.open(t, config(s)).fails(), &got) ||
			got.Code != want.Code || got.Message != want.Message && !(p.pos == 300 && strings.HasPrefix(want.Message, got.Message)) {
			t.Errorf("from %+v: error = %v, want %v", p, got, want)
		}
	}
	for _, c := range []replication.BinlogSyncerConfig{mariadb, config(s)} {
		p := place{file: file, pos: 4}
		first := p.open(t, c)
		first.until(func(e *replication.BinlogEvent) bool { return e.Header.EventType == replication.XID_EVENT })
		p.open(t, c).until(func(e *replication.BinlogEvent) bool { return e.Header.EventType == replication.XID_EVENT })
		wantError(t, first.fails(), 4052, "A slave with the same server_uuid/server_id is already connected")
	}
}

// write logs transactions in two files. It returns the first file, and the GTIDs after each transaction.
func write(t *testing.T, db *sql.DB) (file string, states []string) {
	t.Helper()
	name := fmt.Sprintf("recorded_%d_%d", os.Getpid(), rand.Uint32())
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for i, statement := range strings.Split(strings.ReplaceAll(`FLUSH BINARY LOGS
CREATE DATABASE d
CREATE TABLE d.t (id int PRIMARY KEY, v varchar(20) UNIQUE)
INSERT INTO d.t VALUES (1, 'a'), (2, 'b')
BEGIN
UPDATE d.t SET v = 'c' WHERE id = 1
SAVEPOINT s
DELETE FROM d.t WHERE id = 2
ROLLBACK TO s
INSERT INTO d.t VALUES (3, 'd')
COMMIT
FLUSH BINARY LOGS
UPDATE d.t SET id = 4 WHERE id = 3
ALTER TABLE d.t ADD COLUMN n int
DROP DATABASE d`, "d.t", name+".t"), "\n") {
		if _, err := conn.ExecContext(t.Context(), strings.ReplaceAll(statement, "DATABASE d", "DATABASE "+name)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		if i == 0 {
			file = strings.Fields(rows(t, db, "SHOW MASTER STATUS"))[0]
		}
		states = append(states, rows(t, db, "SELECT @@gtid_binlog_pos"))
	}
	return file, states
}

func liveConfig(t *testing.T, url string) replication.BinlogSyncerConfig {
	t.Helper()
	parsed, err := driver.ParseDSN(url)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(parsed.Addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	c := config(&recorded.Server{Host: host, Port: uint16(n)})
	c.User, c.Password, c.ServerID = parsed.User, parsed.Passwd, rand.Uint32N(1<<31)+1000
	return c
}

// download makes a recording of a server's log from the beginning of a file to a position.
func download(t *testing.T, c replication.BinlogSyncerConfig, from, to string, end uint32, version string) *recorded.Recording {
	t.Helper()
	c.DumpCommandFlag = replication.BINLOG_SEND_ANNOTATE_ROWS_EVENT
	r := &recorded.Recording{Flavor: recorded.MariaDB, Variables: map[string]string{"version": version}}
	var name string
	content := []byte("\xfebin")
	done := func() {
		f, err := recorded.ParseFile(name, content)
		if err != nil {
			t.Fatal(err)
		}
		r.Files = append(r.Files, f)
		content = content[:4:4]
	}
	events := place{file: from, pos: 4}.open(t, c).until(atEnd(to, end))
	for _, e := range events {
		if rotate, ok := e.Event.(*replication.RotateEvent); ok && e.Header.Timestamp == 0 {
			if name != "" {
				done()
			}
			name = string(rotate.NextLogName)
			continue
		}
		content = append(content, e.RawData...)
	}
	done()
	return r
}

// atEnd accepts the event that ends at a position of a file.
func atEnd(file string, pos uint32) func(*replication.BinlogEvent) bool {
	in := ""
	return func(e *replication.BinlogEvent) bool {
		if rotate, ok := e.Event.(*replication.RotateEvent); ok {
			in = string(rotate.NextLogName)
			return false
		}
		return in == file && e.Header.LogPos >= pos
	}
}

// A place is where a reader begins.
type place struct {
	file  string
	pos   uint32
	gtids string
}

func (p place) open(t *testing.T, c replication.BinlogSyncerConfig) *reader {
	t.Helper()
	return read(t, c, p.file, p.pos, p.gtids)
}

// read describes the events up to a position, one a line: all bytes of those in the log, and what counts of those that a server
// makes up.
func (p place) read(t *testing.T, c replication.BinlogSyncerConfig, file string, end uint32) string {
	t.Helper()
	r := p.open(t, c)
	defer r.syncer.Close()
	var text strings.Builder
	for _, e := range r.until(atEnd(file, end)) {
		raw := append([]byte(nil), e.RawData...)
		if e.Header.Flags&replication.LOG_EVENT_ARTIFICIAL_F != 0 {
			binary.LittleEndian.PutUint32(raw[5:], 0) // the id of the server
			if len(raw) > 40 {
				raw = raw[:len(raw)-4] // the checksum of it
			}
		}
		fmt.Fprintf(&text, "%s at %d: %x\n", e.Header.EventType, e.Header.LogPos, raw)
	}
	return text.String()
}
