package recorded_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

// A reader is go-mysql's, on a server's log. Its streamer loses events if an error follows them, so a handler collects them.
type reader struct {
	t      *testing.T
	syncer *replication.BinlogSyncer
	events chan *replication.BinlogEvent
	ended  chan error
}

// HandleEvent is called by the goroutine that also ends the stream.
func (r *reader) HandleEvent(e *replication.BinlogEvent) error {
	r.events <- e
	return nil
}

func config(s *recorded.Server) replication.BinlogSyncerConfig {
	flavor := recorded.MariaDB
	if r := s.Recording(); r != nil {
		flavor = r.Flavor
	}
	c := replication.BinlogSyncerConfig{
		ServerID: 9, Flavor: flavor, Host: s.Host, Port: s.Port, User: recorded.User, Password: recorded.Password,
		DisableRetrySync: true, VerifyChecksum: true, Logger: slog.New(slog.DiscardHandler),
	}
	if s.Host == "" {
		c.Host, c.Dialer = "recorded", s.DialContext
	}
	return c
}

// read begins at a file and position, or after GTIDs.
func read(t *testing.T, c replication.BinlogSyncerConfig, file string, pos uint32, gtids string) *reader {
	t.Helper()
	r := &reader{t: t, events: make(chan *replication.BinlogEvent, 10_000), ended: make(chan error, 1)}
	c.SynchronousEventHandler = r
	r.syncer = replication.NewBinlogSyncer(c)
	var stream *replication.BinlogStreamer
	var err error
	if file != "" {
		stream, err = r.syncer.StartSync(mysql.Position{Name: file, Pos: pos})
	} else {
		var set mysql.GTIDSet
		if set, err = mysql.ParseGTIDSet(c.Flavor, gtids); err != nil {
			t.Fatal(err)
		}
		stream, err = r.syncer.StartSyncGTID(set)
	}
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := stream.GetEvent(context.WithoutCancel(t.Context()))
		r.ended <- err
		close(r.events)
	})
	t.Cleanup(func() {
		r.syncer.Close()
		wg.Wait()
	})
	return r
}

// next returns the next event, or the error that ends the stream.
func (r *reader) next() (*replication.BinlogEvent, error) {
	if e, ok := <-r.events; ok {
		return e, nil
	}
	err := <-r.ended
	r.ended <- err
	return nil, err
}

// until returns the events up to one that match accepts.
func (r *reader) until(match func(*replication.BinlogEvent) bool) []*replication.BinlogEvent {
	r.t.Helper()
	var events []*replication.BinlogEvent
	for {
		e, err := r.next()
		if err != nil {
			r.t.Fatalf("after %d events: %v", len(events), err)
		}
		events = append(events, e)
		if match(e) {
			return events
		}
	}
}

// fails returns the error that ends the stream.
func (r *reader) fails() error {
	for {
		if _, err := r.next(); err != nil {
			return err
		}
	}
}

func at(pos uint32) func(*replication.BinlogEvent) bool {
	return func(e *replication.BinlogEvent) bool { return e.Header.LogPos == pos }
}
