package binlogbench

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

// Stub is a server in this process that hands out a log like MariaDB's and knows just enough for a reader of it. It makes the
// events of the log when they are read, so a long log takes no memory.
//
// Owns: the listener's goroutine, and one for each connection.
type Stub struct {
	listener net.Listener
	protocol *server.Server
	users    *server.InMemoryAuthenticationHandler
	running  sync.WaitGroup

	mu      sync.Mutex
	ids     ids
	keys    map[string]int // unique keys of each table
	log     []written
	last    int           // number of the last transaction
	changed chan struct{} // closed when the log grows
	conns   map[net.Conn]bool
	closed  bool
}

// written is a load in the log.
type written struct {
	load         Load
	transactions []transaction
	first        int // number of its first transaction
}

const (
	account  = "keystrand"
	database = "shop"
)

// NewStub starts a server on a free port of this machine.
func NewStub(ctx context.Context) (*Stub, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Stub{
		listener: l,
		protocol: server.NewServer(version, collation, mysql.AUTH_NATIVE_PASSWORD, nil, nil),
		users:    server.NewInMemoryAuthenticationHandler(mysql.AUTH_NATIVE_PASSWORD),
		ids:      ids{},
		keys:     map[string]int{},
		last:     1,
		changed:  make(chan struct{}),
		conns:    map[net.Conn]bool{},
	}
	if err := s.users.AddUser(account, account); err != nil {
		return nil, err
	}
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.closed {
				conn.Close()
			} else {
				s.conns[conn] = true
				s.running.Go(func() { s.serve(conn) })
			}
			s.mu.Unlock()
		}
	})
	return s, nil
}

func (s *Stub) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	c := &session{stub: s}
	client, err := s.protocol.NewCustomizedConn(conn, s.users, c)
	if err != nil {
		return
	}
	c.client = client
	for !c.over && client.HandleCommand() == nil {
	}
}

// Client implements Primary.
func (s *Stub) Client() Client { return Client{s.listener.Addr().String(), account, account, database} }

// Create implements Primary.
func (s *Stub) Create(_ context.Context, keys int, tables ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tables {
		s.keys[t] = keys
	}
	return nil
}

// Write implements Primary.
func (s *Stub) Write(_ context.Context, l Load) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := written{l, s.ids.transactions(l), s.last + 1}
	s.log = append(s.log, w)
	s.last += len(w.transactions)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Place implements Primary.
func (s *Stub) Place(context.Context) (string, error) { return s.place(), nil }

func (s *Stub) place() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d-%d-%d", domain, serverID, s.last)
}

// CPU implements Primary. It is the time of this process.
func (s *Stub) CPU() time.Duration { return bench.CPUTime() }

// Close implements Primary.
func (s *Stub) Close() error {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.running.Wait()
	return err
}

// after returns the part of the log that begins behind a transaction, nil and a channel that is closed when there is one.
func (s *Stub) after(number int) (*written, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.log {
		w := s.log[i]
		if skip := number + 1 - w.first; skip < len(w.transactions) {
			w.transactions, w.first = w.transactions[skip:], number+1
			return &w, nil
		}
	}
	return nil, s.changed
}
