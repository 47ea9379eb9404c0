package mysql_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// countedConn counts the bytes that are read from a connection.
type countedConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// go-mysql reads 64 events ahead, whatever their size.
func TestLargeRowsAreNotReadFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, count = 1 << 20, 40
		s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
		s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
		m := newMaker(t, s, "suite", "t0")
		var read atomic.Int64
		cfg := mysql.Config{User: recorded.User, Password: recorded.Password}
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.DialContext(ctx, network, address)
			return countedConn{conn, &read}, err
		}
		log, err := mysql.NewLog("recorded:3306", binlog.Filter{Tables: []string{"suite.*"}}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close() //nolint:errcheck // it was only read
		start, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		large := bytes.Repeat([]byte("x"), size)
		for range count {
			m.transaction(m.insert("suite", "t0", [3][]byte{large})...)
		}
		r, err := log.Open(t.Context(), start, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // it was only read
		synctest.Wait()
		if n := read.Load(); n < 4*size || n > 12*size {
			t.Errorf("%d bytes are read ahead, want about 8 MiB", n)
		}
		for rows := 0; rows < count; {
			e, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == demux.Rows {
				rows += len(e.Rows)
			}
		}

		// A reader that waits can be closed.
		r, err = log.Open(t.Context(), start, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
