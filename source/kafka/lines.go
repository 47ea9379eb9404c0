package kafka

import (
	"context"
	"errors"
	"net"
	"sync"
)

// lines are the connections of kafka-go's group. The library's calls have no ctx, so this is how one is ended: by
// cutting its line.
//
// It is safe for concurrent use.
type lines struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

var errCut = errors.New("kafka: the member was cut off")

// connect makes a connection that cut ends.
func (l *lines) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.open[conn] = true
	}
	l.mu.Unlock()
	if ended {
		_ = conn.Close()
		return nil, errCut
	}
	return &line{Conn: conn, of: l}, nil
}

// cut closes all connections, and those that are made later.
func (l *lines) cut() {
	l.mu.Lock()
	l.ended = true
	var open []net.Conn
	for conn := range l.open {
		open = append(open, conn)
	}
	l.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close()
	}
}

type line struct {
	net.Conn
	of *lines
}

// Close closes the connection.
func (l *line) Close() error {
	l.of.mu.Lock()
	delete(l.of.open, l.Conn)
	l.of.mu.Unlock()
	return l.Conn.Close()
}
