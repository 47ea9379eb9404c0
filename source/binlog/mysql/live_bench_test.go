package mysql_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// BenchmarkLiveRead reads 500,000 rows of about 100 bytes from the server of KEYSTRAND_MARIADB: by a bare loop of go-mysql, by
// the reader, by the reader of another table, and by the source. Each reports its CPU, since the server shares the machine.
func BenchmarkLiveRead(b *testing.B) {
	dsn := os.Getenv("KEYSTRAND_MARIADB")
	if dsn == "" {
		b.Skip("no server")
	}
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		b.Fatal(err)
	}
	start := benchRows(b, c)
	cfg := mysql.Config{User: c.User, Password: c.Passwd, Start: mysql.GTIDs(start)}
	log, err := mysql.NewLog(c.Addr, binlog.Filter{Tables: []string{"bench.t"}}, cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // it was only read
	const rows = 500_000
	report := func(b *testing.B, from time.Duration) {
		b.Helper()
		b.ReportMetric(float64((cpu()-from).Nanoseconds())/float64(b.N)/rows, "cpu-ns/row")
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		from := cpu()
		for b.Loop() {
			s := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
				ServerID: 4711, Flavor: "mariadb", Host: c.Addr, User: c.User, Password: c.Passwd, DisableRetrySync: true, VerifyChecksum: true,
				EventCacheCount: 64, Logger: slog.New(slog.DiscardHandler),
			})
			set, err := gomysql.ParseGTIDSet("mariadb", start)
			if err != nil {
				b.Fatal(err)
			}
			st, err := s.StartSyncGTID(set)
			if err != nil {
				b.Fatal(err)
			}
			for n := 0; n < rows; {
				e, err := st.GetEvent(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if ev, ok := e.Event.(*replication.RowsEvent); ok {
					n += len(ev.Rows)
				}
			}
			s.Close()
		}
		report(b, from)
	})
	b.Run("reader", func(b *testing.B) {
		b.ReportAllocs()
		from := cpu()
		for b.Loop() {
			at, err := log.Start(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			r, err := log.Open(b.Context(), at, nil)
			if err != nil {
				b.Fatal(err)
			}
			for n := 0; n < rows; {
				e, err := r.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if e.Kind == demux.Rows {
					n += len(e.Rows)
				}
			}
			_ = r.Close()
		}
		report(b, from)
	})
	b.Run("reader of nothing", func(b *testing.B) {
		none, err := mysql.NewLog(c.Addr, binlog.Filter{Tables: []string{"bench.other"}}, cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer none.Close() //nolint:errcheck // it was only read
		b.ReportAllocs()
		from := cpu()
		for b.Loop() {
			at, err := none.Start(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			r, err := none.Open(b.Context(), at, nil)
			if err != nil {
				b.Fatal(err)
			}
			for n := 0; n < 10; { // 10 transactions
				e, err := r.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if e.Kind == demux.End {
					n++
				}
			}
			_ = r.Close()
		}
		report(b, from)
	})
	b.Run("source", func(b *testing.B) {
		b.ReportAllocs()
		from := cpu()
		for b.Loop() {
			src, err := mysql.New(c.Addr, []string{"bench.t"}, newMemStore(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			p, err := src.Accept(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			batch := &source.Batch{MaxMessages: 256, MaxBytes: 1 << 20}
			for n := 0; n < rows; n += len(batch.Messages) {
				batch.Messages = batch.Messages[:0]
				if err := p.Fetch(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			_ = p.Release(b.Context())
			_ = src.Close()
		}
		report(b, from)
	})
}

// benchRows makes the table bench.t anew, with 500,000 rows, and returns the GTIDs before them.
func benchRows(b *testing.B, c *driver.Config) string {
	b.Helper()
	c = c.Clone()
	c.DBName = ""
	connector, err := driver.NewConnector(c)
	if err != nil {
		b.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // it has done its work
	var start string
	for _, q := range []string{
		"CREATE DATABASE IF NOT EXISTS bench",
		"DROP TABLE IF EXISTS bench.t",
		"CREATE TABLE bench.t (id bigint PRIMARY KEY, a int, b int unsigned, c varchar(60), d datetime, u varchar(20) NOT NULL, UNIQUE KEY u (u))",
	} {
		if _, err := db.ExecContext(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.QueryRowContext(b.Context(), "SELECT @@gtid_binlog_pos").Scan(&start); err != nil {
		b.Fatal(err)
	}
	for i := range 10 {
		if _, err := db.ExecContext(b.Context(), "INSERT INTO bench.t SELECT ? + seq, seq, seq * 3, repeat('x', 60), now(), concat('u', ? + seq) "+
			"FROM keystrand.seq_1_to_50000", i*50_000, i*50_000); err != nil {
			b.Fatal(err)
		}
	}
	return start
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
