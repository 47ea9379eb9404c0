//go:build unix

package livetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
	"github.com/keystrand/keystrand/pipeline"
)

// depot is how a process reaches the store of diverted keys.
type depot struct {
	Service, Address string // postgres or mariadb and a data source, or bolt and a file; empty: none
	Name             string // of the pipeline
}

// driver returns the driver of database/sql.
func (d depot) driver() string {
	if d.Service == "mariadb" {
		return "mysql"
	}
	return "pgx"
}

func (d depot) dialect() spillsql.Dialect {
	if d.Service == "mariadb" {
		return spillsql.MariaDB
	}
	return spillsql.PostgreSQL
}

// newDepot makes a place for strands: a schema of a database, or the name of a file.
func newDepot(t *testing.T, service, name string) depot {
	t.Helper()
	if service == "bolt" {
		return depot{service, filepath.Join(t.ArtifactDir(), "strands"), name}
	}
	d := depot{service, env(t, "KEYSTRAND_"+strings.ToUpper(service), service), name}
	admin, err := sql.Open(d.driver(), d.Address)
	if err != nil {
		t.Fatal(err)
	}
	schema, cascade := fmt.Sprintf("live_%d", time.Now().UnixNano()), " CASCADE"
	d.Address += "&search_path=" + schema
	if service == "mariadb" {
		d.Address, cascade = d.Address[:strings.LastIndexByte(d.Address, '/')+1]+schema, ""
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+schema+cascade)
		if err := errors.Join(err, admin.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err = admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(d.driver(), d.Address)
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(strings.TrimSpace(spillsql.Schema(d.dialect())), ";\n") {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// open returns the store.
func (d depot) open() (spill.Store, error) {
	if d.Service == "bolt" {
		return bolt.New(d.Address, bolt.Config{})
	}
	db, err := sql.Open(d.driver(), d.Address)
	if err != nil {
		return nil, err
	}
	s, err := spillsql.New(db, d.dialect(), d.Name)
	return pooledStore{s, db}, err
}

// pooledStore closes its connections.
type pooledStore struct {
	*spillsql.Store
	db *sql.DB
}

func (s pooledStore) Close() error { return errors.Join(s.Store.Close(), s.db.Close()) }

// unhandled returns the messages in the store, when the owners of the epochs have left.
func (d depot) unhandled(ctx context.Context, epochs map[Place]commit.Progress) (all map[Message]bool, err error) {
	s, err := d.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all = map[Message]bool{}
	for p, last := range epochs {
		log, strands, err := s.Open(ctx, spill.Owner{Stream: p.Stream, Partition: p.Partition, Epoch: last.Epoch, Log: last.Log})
		if err != nil {
			return nil, err
		}
		for i := range strands {
			ms, err := log.Read(ctx, strands[i].Key, strands[i].Mark, spill.Size{})
			if err != nil {
				return nil, err
			}
			for i := range ms {
				all[Message{Place: p, Offset: ms[i].Offset}] = true
			}
		}
		if err := log.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// recordedStore writes to the history what the store has stored, before the pipeline knows.
type recordedStore struct {
	spill.Store
	record *recorder
}

func (s recordedStore) Open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	log, strands, err := s.Store.Open(ctx, o)
	l := &recordedLog{Log: log, owner: o, record: s.record}
	if l.fenced(err) != nil {
		return nil, nil, err
	}
	for i := range strands {
		x := &strands[i]
		records := commit.Progress{Frontier: x.Mark + 1, Ahead: []commit.Range{{From: x.From, To: x.High + 1}}}
		l.write(Event{Kind: Restored, Message: Message{Key: x.Key}, Count: int(x.Records), Progress: records})
	}
	l.write(Event{Kind: Opened})
	return l, strands, nil
}

type recordedLog struct {
	spill.Log
	owner  spill.Owner
	record *recorder
	calls  atomic.Int32
}

func (l *recordedLog) write(e Event) {
	e.Place, e.Epoch = Place{l.owner.Stream, l.owner.Partition}, l.owner.Epoch
	l.record.write(e)
}

// call begins a call, and returns its number.
func (l *recordedLog) call() int {
	n := int(l.calls.Add(1))
	l.write(Event{Kind: Storing, Count: n})
	return n
}

// fenced returns err. A fenced owner has lost its partition.
func (l *recordedLog) fenced(err error) error {
	if errors.Is(err, commit.ErrFenced) {
		l.write(Event{Kind: Lost, Text: err.Error()})
	}
	return err
}

func (l *recordedLog) Append(ctx context.Context, rs []spill.Record) error {
	n := l.call()
	err := l.fenced(l.Log.Append(ctx, rs))
	for i := range rs {
		if err == nil {
			e := eventOf(Kept, &rs[i].Message)
			e.Count = n
			l.write(e)
		}
	}
	return err
}

func (l *recordedLog) Save(ctx context.Context, ms []spill.Mark) error {
	n := l.call()
	l.marks(Marking, n, ms)
	err := l.fenced(l.Log.Save(ctx, ms))
	if err == nil {
		l.marks(Marked, n, ms)
	}
	return err
}

func (l *recordedLog) marks(k Kind, n int, ms []spill.Mark) {
	for _, m := range ms {
		e := Event{Kind: k, Message: Message{Key: m.Key, Offset: m.Through}, Count: n}
		switch m.Change {
		case spill.Remove:
			e.Text = Removed
		case spill.Hold, spill.Resume: // without a mark
			continue
		case spill.Keep:
		}
		l.write(e)
	}
}

// operate resumes held keys until ctx ends.
func operate(ctx context.Context, p *pipeline.Pipeline, log *slog.Logger) {
	for ctx.Err() == nil {
		for _, s := range p.Snapshot().Partitions {
			held, err := p.Held(ctx, s.ID.Stream, s.ID.Partition, "", 100)
			for i := 0; i < len(held) && err == nil; i++ {
				_, err = p.ResumeHeld(ctx, s.ID.Stream, s.ID.Partition, held[i].Key, "livetest")
			}
			if err != nil { // the partition has another owner, or the database does not answer
				log.InfoContext(ctx, "cannot resume held keys", slog.Any("error", err))
			}
		}
		time.Sleep(50 * time.Millisecond) // real time: the pipeline works
	}
}
