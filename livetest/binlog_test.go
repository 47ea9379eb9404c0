//go:build unix

package livetest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// binlog returns a source of all tables of a database. Its progress is in the database of the address.
func (a access) binlog(log *slog.Logger) (source.Source, error) {
	c, err := driver.ParseDSN(a.Address)
	if err != nil {
		return nil, err
	}
	store, err := openProgress(a.Address)
	if err != nil {
		return nil, err
	}
	return mysql.New(c.Addr, []string{a.Stream + ".*"}, store, mysql.Config{
		User: c.User, Password: c.Passwd, Start: mysql.GTIDs(a.Start), Logger: log,
	})
}

// openProgress opens the store of progress in a database.
func openProgress(dsn string) (*commitsql.Store, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	return commitsql.New(db, commitsql.MariaDB, "livetest", commitsql.Config{})
}

// server is the MariaDB of a run, with two databases of its own.
type server struct {
	*run
	tables   string // the database that changes
	progress string // the database with the progress of members, and with the table "end"
	dsn      string // of progress
	db       *sql.DB
	from     string // the GTIDs behind which members begin

	changes []change // of the log; nil: not read yet
	effects []effect // in their order, when the history was judged

	tried, frontiers map[Place]int64 // of the last commit, and of the last one that was stored
	seen             int             // events that are in these
	knows            bool            // the commits have the keys of rekeyed
	rekeyed          int64           // offset of the last statement that has changed unique keys
}

// newServer makes the databases and their tables.
func newServer(t *testing.T) *server {
	t.Helper()
	dsn := env(t, "KEYSTRAND_MARIADB", "mariadb")
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("live_%d", time.Now().UnixNano())
	s := &server{
		tables: name, progress: name + "_progress", tried: map[Place]int64{}, frontiers: map[Place]int64{},
		run: &run{
			t: t, members: map[string]*process{}, done: map[Message]bool{}, owners: map[Place]string{}, stored: map[Message]bool{},
			History: History{Workers: 64, Late: true},
		},
	}
	s.behaviour = behaviour{Handling: 10 * time.Millisecond, Uneven: true, Workers: 64, FailOne: 50, Drain: 10 * time.Second}
	s.judge = func(h *History) (report *Report) {
		if s.changes == nil {
			return &Report{}
		}
		report, s.effects = checkLanes(h, s.changes)
		return report
	}
	admin, err := sql.Open("mysql", dsn)
	s.must(err)
	t.Cleanup(func() { // after the last member
		for _, database := range []string{s.tables, s.progress} {
			if _, err := admin.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+database); err != nil {
				t.Error(err)
			}
		}
		_ = admin.Close()
	})
	s.open()
	for _, database := range []string{s.tables, s.progress} {
		_, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+database+" CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
		s.must(err)
	}
	c.DBName = s.progress
	s.dsn = c.FormatDSN()
	store, err := openProgress(s.dsn)
	s.must(err)
	s.must(store.Create(t.Context()))
	c.DBName = s.tables
	c.Params = map[string]string{"innodb_lock_wait_timeout": "2", "lock_wait_timeout": "2"}
	s.db, err = sql.Open("mysql", c.FormatDSN())
	s.must(err)
	s.db.SetMaxIdleConns(connections)
	t.Cleanup(func() { _ = s.db.Close() })
	for _, statement := range append(slices.Clone(tables), "CREATE TABLE "+s.progress+".end (n int)") {
		_, err := s.db.ExecContext(t.Context(), statement)
		s.must(err)
	}
	s.must(s.db.QueryRowContext(t.Context(), "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&s.from))
	return s
}

// join starts a member.
func (s *server) join(name string) {
	s.t.Helper()
	s.start(spec{
		Name: name, History: s.record.Name(), behaviour: s.behaviour,
		Input: access{Service: "mariadb", Address: s.dsn, Stream: s.tables, Start: s.from},
	})
}

// follow takes in the commits that are new in the history. It reports whether all tables are committed well behind their first
// rows. From there on each restart begins with the keys that the tables had.
func (s *server) follow() bool {
	for ; s.seen < len(s.Events); s.seen++ {
		switch e := &s.Events[s.seen]; e.Kind { //nolint:exhaustive // of commits alone
		case Trying:
			s.tried[e.Place] = e.Progress.Frontier
		case Stored:
			s.frontiers[e.Place] = s.tried[e.Place]
		case Finished:
			if _, statement, _ := strings.Cut(e.Key, " "); changedKeys[statement] != nil && e.Offset > s.rekeyed {
				s.rekeyed, s.knows = e.Offset, false
			}
		}
	}
	for _, frontier := range s.frontiers {
		if frontier < wellBehind {
			return false
		}
	}
	return len(s.frontiers) >= len(tables)
}

// wellBehind is so far behind an offset that a commit there has the keys of that offset: there were rows of each table, and
// transaction ends.
const wellBehind = 300

// knowsKeys reports, once for each statement that has changed unique keys, that each restart begins with the new ones.
func (s *server) knowsKeys() bool {
	if s.knows || s.rekeyed == 0 || s.frontiers[Place{Stream: s.tables + ".seats"}] < s.rekeyed+wellBehind {
		return false
	}
	s.knows = true
	return true
}

// committed reports whether the last commits say that all of the changes are settled.
func (s *server) committed() bool {
	ends := map[Place]int64{}
	for m := range s.done {
		ends[m.Place] = max(ends[m.Place], m.Offset+1)
	}
	for p, end := range ends {
		if s.frontiers[p] < end {
			return false
		}
	}
	return true
}

// kept returns the progress that the store has at the end.
func (s *server) kept() map[Place]commit.Progress {
	s.t.Helper()
	store, err := openProgress(s.dsn)
	s.must(err)
	kept := map[Place]commit.Progress{}
	for i := range s.Events {
		if e := &s.Events[i]; e.Kind == Accepted && kept[e.Place].Epoch == 0 {
			p, err := store.Claim(s.t.Context(), e.Stream, e.Partition, 0)
			s.must(err)
			kept[e.Place] = *p
		}
	}
	return kept
}

const noSuchTable = 1146

// content reads the tables.
func (s *server) content() content {
	s.t.Helper()
	all := content{}
	for name, table := range columns {
		all[name] = map[string]int{}
		rows, err := s.db.QueryContext(s.t.Context(), "SELECT "+strings.Join(table.names, ", ")+" FROM "+name)
		if e, is := errors.AsType[*driver.MySQLError](err); is && e.Number == noSuchTable {
			continue
		}
		s.must(err)
		values := make([]sql.NullString, len(table.names))
		var into []any
		for i := range values {
			into = append(into, &values[i])
		}
		for rows.Next() {
			s.must(rows.Scan(into...))
			m := image{}
			for i, v := range values {
				if v.Valid {
					m[table.names[i]] = v.String
				}
			}
			all[name][rowText(table.names, m)]++
		}
		s.must(rows.Err())
		s.must(rows.Close())
	}
	return all
}

// compare fails the test if tables differ.
func (s *server) compare(what string, got, want content) {
	s.t.Helper()
	for name := range columns {
		if maps.Equal(got[name], want[name]) {
			continue
		}
		missing, extra := maps.Clone(want[name]), maps.Clone(got[name])
		maps.DeleteFunc(missing, func(row string, n int) bool { return got[name][row] == n })
		maps.DeleteFunc(extra, func(row string, n int) bool { return want[name][row] == n })
		s.t.Errorf("%s: table %s lacks %v and has %v", what, name, missing, extra)
	}
}

// TestLiveBinlogMembersAreKilled: connections change tables with several unique keys. The member that follows them is killed at
// any moment, and another one begins. Every change is handled in the order of all its lanes, and again only if no commit had it.
func TestLiveBinlogMembersAreKilled(t *testing.T) {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("KEYSTRAND_LIVE_KILLS"), "10"))
	if err != nil {
		t.Fatalf("KEYSTRAND_LIVE_KILLS: %v", err)
	}
	s := newServer(t)
	w := &shop{db: s.db, seed: s.seed, ahead: 800}
	w.open(t.Context())
	closing := sync.OnceValue(w.close)
	t.Cleanup(func() { _ = closing() })
	wait := func(what string, holds func() bool) {
		t.Helper()
		s.until(what, func() bool {
			w.settled.Store(int64(len(s.done)))
			w.defines.Store(s.follow())
			if s.knowsKeys() {
				w.rekeyed.Store(false)
			}
			return holds()
		})
	}
	random := rand.New(rand.NewPCG(s.seed, connections))
	for i := range kills {
		name, before, n := fmt.Sprint("m", i), len(s.done), max(0, random.IntN(700)-100)
		s.join(name)
		wait(fmt.Sprintf("%s has begun and settled %d changes", name, n), func() bool {
			return s.members[name].begun && len(s.done)-before >= n && (i < 2 || w.defines.Load()) // the first two die young
		})
		time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond) // real time: any moment
		s.killNow(name)
	}
	s.must(closing())
	_, err = s.db.ExecContext(t.Context(), "INSERT INTO "+s.progress+".end VALUES (1)")
	s.must(err)
	s.changes, err = readBare(t.Context(), s.dsn, s.tables, s.from, s.progress)
	s.must(err)
	s.join("last")
	wait("all is settled and committed", func() bool { return len(s.done) >= len(s.changes) && s.committed() })
	s.leave("last")

	s.read()
	s.Committed = s.kept()
	report := s.verdict(false)
	want, bare, got := s.content(), content{}, content{}
	statements, moves := 0, 0 // rows that move to other keys
	for i := range s.changes {
		bare.apply(&s.changes[i])
		if c := &s.changes[i]; c.statement != "" {
			statements++
		} else if keys := len(uniqueKeys()[strings.TrimPrefix(c.Stream, s.tables+".")]); keys > 0 && len(c.lanes) > keys {
			moves++
		}
	}
	s.compare("the bare reading", bare, want)
	for _, e := range s.effects {
		if columns[strings.TrimPrefix(e.Stream, s.tables+".")].primary > 0 || e.final() { // without a key, repeats would add up
			got.apply(e.change)
		}
	}
	s.compare("the effects", got, want)
	t.Logf("%d kills, %d statements, %d moves: %+v", kills, statements, moves, report.Figures)
	if kills >= 10 && min(statements, moves, report.Figures.Again) == 0 {
		t.Error("nothing happened that this test is about")
	}
}
