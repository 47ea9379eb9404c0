package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// reading has the arguments of read, which reads a log from a place until it has seen all rows of the wanted tables.
type reading struct {
	Client binlogbench.Client
	Engine string
	From   string // GTID
	Tables []string
	Rows   int // of these tables
}

// readResult is the result of read. The time runs from the first row to the last. CPU and allocations count from before the
// connection, since an engine may have read ahead when it returns its first row.
type readResult struct {
	Seconds, CPU, Allocs, RSS float64
	Received                  float64 // bytes from the server

	server float64 // CPU of the server in seconds
}

const (
	loop        = "go-mysql loop"
	sourceAlone = "keystrand's source alone"
	keyed       = "keystrand"
	connections = "keystrand, a connection each"
)

// reader is what the engines share.
type reader struct {
	reading
	rows     bench.Meter // the first row to the last
	seen     atomic.Int64
	received atomic.Int64
	over     context.CancelFunc
}

func read(ctx context.Context, s reading) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &reader{reading: s, over: cancel}
	var whole bench.Meter
	whole.Start()
	var err error
	switch s.Engine {
	case loop:
		err = r.bare(ctx)
	case sourceAlone:
		err = r.alone(ctx)
	case keyed:
		err = r.pipeline(ctx, s.Tables)
	case connections:
		errs := make([]error, len(s.Tables))
		var all sync.WaitGroup
		for i, t := range s.Tables {
			all.Go(func() { errs[i] = r.pipeline(ctx, []string{t}) })
		}
		all.Wait()
		err = errors.Join(errs...)
	default:
		err = fmt.Errorf("unknown engine %q", s.Engine)
	}
	if n := r.seen.Load(); err == nil && n != int64(s.Rows) {
		err = fmt.Errorf("%s: %d rows, want %d", s.Engine, n, s.Rows)
	}
	if err != nil {
		return err
	}
	whole.Stop()
	all := whole.Usage()
	return bench.Answer(readResult{
		Seconds: r.rows.Usage().Seconds, CPU: all.CPU, Allocs: all.Allocs, RSS: bench.PeakRSS(), Received: float64(r.received.Load()),
	})
}

// see counts rows, and ends the reading with the last.
func (r *reader) see(n int) {
	before := r.seen.Add(int64(n)) - int64(n)
	if before == 0 {
		r.rows.Start()
	}
	if before+int64(n) >= int64(r.Rows) {
		r.rows.Stop()
		r.over()
	}
}

// dial connects, and counts what the server sends.
func (r *reader) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return counted{conn, &r.received}, nil
}

type counted struct {
	net.Conn
	received *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}

// bare is the loop of go-mysql's documentation, with the settings of the source.
func (r *reader) bare(ctx context.Context) error {
	s := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: uint32(time.Now().UnixNano())>>2 | 1<<29, Flavor: gomysql.MariaDBFlavor, Host: r.Client.Addr, User: r.Client.User,
		Password: r.Client.Password, DisableRetrySync: true, VerifyChecksum: true, EventCacheCount: 64, Dialer: r.dial,
		Logger: slog.New(slog.DiscardHandler),
	})
	defer s.Close()
	from, err := gomysql.ParseGTIDSet(gomysql.MariaDBFlavor, r.From)
	if err != nil {
		return err
	}
	stream, err := s.StartSyncGTID(from)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, t := range r.Tables {
		wanted[t] = true
	}
	for {
		e, err := stream.GetEvent(ctx)
		if err != nil {
			return unlessOver(ctx, err)
		}
		if rows, is := e.Event.(*replication.RowsEvent); is && string(rows.Table.Schema) == r.Client.Database && wanted[string(rows.Table.Table)] {
			r.see(len(rows.Rows))
		}
	}
}

// open returns a source of some tables.
func (r *reader) open(tables []string, store commit.Store) (source.Source, error) {
	return open(r.Client, r.From, tables, store, r.dial)
}

func open(c binlogbench.Client, from string, tables []string, store commit.Store,
	dial func(context.Context, string, string) (net.Conn, error),
) (source.Source, error) {
	var full []string
	for _, t := range tables {
		full = append(full, c.Database+"."+t)
	}
	return mysql.New(c.Addr, full, store, mysql.Config{User: c.User, Password: c.Password, Start: mysql.GTIDs(from), Dial: dial})
}

// alone reads the source without a pipeline: Fetch, and a commit each second.
func (r *reader) alone(ctx context.Context) error {
	src, err := r.open(r.Tables, binlogbench.NewStore())
	if err != nil {
		return err
	}
	errs := make([]error, len(r.Tables))
	var loops sync.WaitGroup
	for i := range r.Tables {
		p, err := src.Accept(ctx)
		if err != nil {
			return err
		}
		loops.Go(func() { errs[i] = errors.Join(r.fetch(ctx, p), p.Release(context.WithoutCancel(ctx))) })
	}
	loops.Wait()
	return errors.Join(errors.Join(errs...), src.Close())
}

func (r *reader) fetch(ctx context.Context, p source.Partition) error {
	b := source.Batch{MaxMessages: 256, MaxBytes: 1 << 20} // the pipeline's defaults
	committed := time.Now()
	for {
		b.Messages = b.Messages[:0]
		if err := p.Fetch(ctx, &b); err != nil {
			return unlessOver(ctx, err)
		}
		if n := len(b.Messages); n > 0 {
			r.see(n)
		}
		if time.Since(committed) < time.Second {
			continue
		}
		progress := &commit.Progress{Log: p.Restored().Log, Epoch: p.ID().Epoch, Frontier: b.Next}
		if _, err := p.Commit(context.WithoutCancel(ctx), progress); err != nil {
			return err
		}
		committed = time.Now()
	}
}

// unlessOver returns err, or nil if all rows were seen.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the reading ends with ctx
	}
	return err
}

// pipeline reads some tables with an empty handler.
func (r *reader) pipeline(ctx context.Context, tables []string) error {
	src, err := r.open(tables, binlogbench.NewStore())
	if err != nil {
		return err
	}
	p, err := pipeline.From(src).
		HandleFunc(func(context.Context, *keystrand.Message) error {
			r.see(1)
			return nil
		}).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}
