package group

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
)

// connections are those of kafka-go's group. The library's calls take no ctx; closing their connection is the only way to
// end one.
//
// It is safe for concurrent use.
type connections struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

var errCut = errors.New("kafka: the connections of the member are closed")

// connect makes a connection that cut closes.
func (c *connections) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.open[conn] = true
	}
	c.mu.Unlock()
	if ended {
		_ = conn.Close()
		return nil, errCut
	}
	return &connection{Conn: conn, of: c}, nil
}

// cut closes all connections, and later ones.
func (c *connections) cut() {
	c.mu.Lock()
	c.ended = true
	open := slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of *connections
}

// Close closes the connection.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
