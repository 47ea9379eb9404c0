package mysql

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is the one network connection of a reader. It ends all that go-mysql does with it: go-mysql itself would open another
// connection at the end, to end the first on the server, and wait for it.
type link struct {
	dialer    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout   time.Duration // without a byte
	searching atomic.Bool   // the server looks for the place in its log, and sends nothing

	mu     sync.Mutex
	cancel context.CancelFunc // of the dial
	conn   net.Conn
	closed bool
}

func (l *link) dial(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.cancel = cancel
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	conn, err := l.dialer(ctx, network(address), address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conn = conn
	closed = l.closed
	l.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return &patient{conn, l}, nil
}

// search allows the server searchTimeout before the first event. It reads a file from its beginning to find a GTID.
func (l *link) search() {
	l.searching.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.SetReadDeadline(time.Now().Add(searchTimeout))
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	cancel, conn := l.cancel, l.conn
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if conn != nil {
		_ = conn.Close()
	}
}

// patient is a connection that sets its own deadlines: later ones while the server searches. Those of go-mysql come from a clock
// that tests cannot set. It reports no error: a failed deadline makes go-mysql close a connection that it still reads.
type patient struct {
	net.Conn
	link *link
}

func (p *patient) SetReadDeadline(time.Time) error {
	timeout := p.link.timeout
	if p.link.searching.Load() {
		timeout = searchTimeout
	}
	_ = p.Conn.SetReadDeadline(time.Now().Add(timeout))
	return nil
}
