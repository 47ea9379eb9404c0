// Virtual time: every test that uses this rig has a bubble.

package drc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/memstore"
)

func newMemStore() *memstore.Store { return memstore.New() }

// network has the connections of one client. They can be cut, or be silent: then nothing arrives, in either direction.
type network struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	conns  []net.Conn
	thawed chan struct{} // closed unless the connections are silent
	down   bool          // no new connections
}

func networkTo(s *service) *network {
	n := &network{dial: s.pipes.dial, thawed: make(chan struct{})}
	close(n.thawed)
	return n
}

func (n *network) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		n.mu.Lock()
		down, dial := n.down, n.dial
		n.mu.Unlock()
		if down {
			return nil, errors.New("connection refused")
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, c)
		return &silentConn{Conn: c, network: n, closed: make(chan struct{})}, nil
	}}}
}

// cut ends all connections.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.thawed = make(chan struct{})
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.thawed)
}

// silentConn is a connection of a network.
type silentConn struct {
	net.Conn
	network *network
	once    sync.Once
	closed  chan struct{}
}

func (c *silentConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		err = c.await()
	}
	return n, err
}

func (c *silentConn) Write(p []byte) (int, error) {
	if err := c.await(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *silentConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// await waits while the network is silent.
func (c *silentConn) await() error {
	c.network.mu.Lock()
	thawed := c.network.thawed
	c.network.mu.Unlock()
	select {
	case <-thawed:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// open returns a source of the service, which is closed with the test unless it was before.
func open(t *testing.T, n *network, store commit.Store, cfg Config, topics ...string) *joined {
	t.Helper()
	if topics == nil {
		topics = []string{"shop"}
	}
	cfg.Client = n.client()
	src, err := New("http://drc", topics, store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := src.(*joined)
	if !ok {
		t.Fatalf("a source of type %T", src)
	}
	t.Cleanup(func() { // of a test that has failed
		crash(s)
		for _, topic := range s.topics {
			_ = topic.Source.Close()
		}
	})
	return s
}

// crash ends a source as kill -9 ends its process: its connections end, and nothing is released.
func crash(s *joined) {
	s.begin.Do(func() {})
	s.stop()
	s.running.Wait()
	for _, t := range s.topics {
		t.log.close()
	}
}

// consumer accepts partitions and reads them.
type consumer struct {
	t   *testing.T
	src *joined
	all map[string]source.Partition // by stream

	commits bool // read commits what it has read at once: a statement waits for that
}

// accept accepts partitions until it has all of these streams.
func (c *consumer) accept(streams ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, s := range streams {
		for c.all[s] == nil {
			p, err := c.src.Accept(ctx)
			if err != nil {
				c.t.Fatalf("accept %s: %v", s, err)
			}
			c.all[p.ID().Stream] = p
		}
	}
}

// read returns the next n messages of a stream.
func (c *consumer) read(stream string, n int) (all []keystrand.Message) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Minute)
	defer cancel()
	for len(all) < n {
		b := source.Batch{MaxMessages: n - len(all), MaxBytes: 1 << 20}
		if err := c.all[stream].Fetch(ctx, &b); err != nil {
			c.t.Fatalf("fetch %s after %d of %d messages: %v; report: %+v", stream, len(all), n, err, c.src.Report())
		}
		all = append(all, b.Messages...)
		if c.commits {
			if err := c.commit(stream, b.Next); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return all
}

// commit commits a frontier.
func (c *consumer) commit(stream string, frontier int64) error {
	p := c.all[stream]
	own := *p.Restored()
	own.Frontier, own.Ahead = frontier, nil
	_, err := p.Commit(c.t.Context(), &own)
	return err
}

// close releases all partitions and closes the source.
func (c *consumer) close() {
	c.t.Helper()
	for _, p := range c.all {
		if err := p.Release(c.t.Context()); err != nil {
			c.t.Error(err)
		}
	}
	c.all = nil
	if err := c.src.Close(); err != nil {
		c.t.Error(err)
	}
}

// consume begins to consume the streams.
func consume(t *testing.T, s *joined, streams ...string) *consumer {
	t.Helper()
	c := &consumer{t: t, src: s, all: make(map[string]source.Partition)}
	c.accept(streams...)
	return c
}

// ids returns the first values of rows of one table after their change.
func ids(all []keystrand.Message) (values []any) {
	for i := range all {
		values = append(values, rowOf(all[i]).After[0])
	}
	return values
}

// rowOf returns the row of a message, which is one.
func rowOf(m keystrand.Message) *binlog.Row {
	r, err := binlog.RowOf(&m)
	if err != nil {
		panic(err)
	}
	return r
}
