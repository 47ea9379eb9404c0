package recorded

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"
)

// The one account of a server.
const (
	User     = "keystrand"
	Password = "keystrand"
)

// A Server hands out the binary log of a recording, as a real server does: by file and position, or after GTIDs. When a client has
// read the whole log it gets heartbeats, until there is more. All methods may be called from any goroutine.
//
// Owns: the listener's goroutine, and two goroutines a connection. They end with the test.
type Server struct {
	Host string // empty without a listener
	Port uint16

	// OnQuery, if set, is asked first for each statement. It returns nil and nil for the server's own answer. Set it before the
	// first connection.
	OnQuery func(query string, args []any) (*Table, error)

	// OnDump, if set, may refuse a reader of the log. Set it before the first connection.
	OnDump func(Dump) error

	listener net.Listener
	protocol *server.Server
	users    *server.InMemoryAuthenticationHandler
	wg       sync.WaitGroup

	mu        sync.Mutex
	recording *Recording
	changed   chan struct{} // closed when a waiting reader has to look again
	conns     map[net.Conn]*session
	closed    bool
	dumps     []Dump
	queries   []string
	limit     int // readers wait before this event; negative: none
	cuts      map[int]bool
	silent    bool
}

// A Dump is a client's request to read the log.
type Dump struct {
	ServerID uint32
	File     string
	Pos      uint32
	GTIDs    string // instead of file and position
}

// Serve starts a server on a port of this machine. It stops when the test ends.
func Serve(tb testing.TB, r *Recording) *Server {
	tb.Helper()
	return serve(tb, r, nil)
}

// ServeTLS is like Serve, for clients with and without TLS.
func ServeTLS(tb testing.TB, r *Recording, config *tls.Config) *Server {
	tb.Helper()
	return serve(tb, r, config)
}

func serve(tb testing.TB, r *Recording, config *tls.Config) *Server {
	tb.Helper()
	s := newServer(tb, r, config)
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		tb.Fatal(err)
	}
	s.Host, s.Port, s.listener = host, uint16(n), l
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(conn)
		}
	})
	return s
}

// Pipe starts a server without a listener: clients reach it by its DialContext. It may run in a synctest bubble. There go-mysql's
// ReadTimeout has no effect, since the library takes the time from the system.
func Pipe(tb testing.TB, r *Recording) *Server {
	tb.Helper()
	return newServer(tb, r, nil)
}

func newServer(tb testing.TB, r *Recording, config *tls.Config) *Server {
	tb.Helper()
	s := &Server{
		protocol:  server.NewServer(r.Variables["version"], mysql.DEFAULT_COLLATION_ID, mysql.AUTH_NATIVE_PASSWORD, nil, config),
		users:     server.NewInMemoryAuthenticationHandler(mysql.AUTH_NATIVE_PASSWORD),
		recording: r,
		changed:   make(chan struct{}),
		conns:     map[net.Conn]*session{},
		limit:     -1,
		cuts:      map[int]bool{},
	}
	if err := s.users.AddUser(User, Password); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Addr returns host and port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))) }

// DialContext connects to the server in memory, whatever the address says.
func (s *Server) DialContext(context.Context, string, string) (net.Conn, error) {
	client, conn := net.Pipe()
	if !s.serve(conn) {
		return nil, errors.New("recorded: the server is closed")
	}
	return client, nil
}

// serve reports whether the server is open.
func (s *Server) serve(conn net.Conn) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		conn.Close()
		return false
	}
	c := newSession(s, conn)
	s.conns[conn] = c
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		defer func() {
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
		}()
		c.run()
	}()
	return true
}

// Close cuts all connections and refuses new ones. It returns when all goroutines have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.Cut()
	s.wg.Wait()
}

// Cut cuts all connections now.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// CutBefore cuts, once for each number, the connection that would get that event next. Events are numbered over all files of the
// recording, from 0.
func (s *Server) CutBefore(events ...int) {
	s.change(func() {
		for _, n := range events {
			s.cuts[n] = true
		}
	})
}

// Stop makes readers wait before an event, as if it was not logged yet. A negative number lets them go on.
func (s *Server) Stop(event int) { s.change(func() { s.limit = event }) }

// Silence stops heartbeats, or starts them again.
func (s *Server) Silence(on bool) { s.change(func() { s.silent = on }) }

// Replace puts another recording in the place of this one. Readers go on at their place in the file of the same name, and get error
// 1236 if it is gone: this is how a test appends events, purges files or puts another server behind the address.
func (s *Server) Replace(r *Recording) { s.change(func() { s.recording = r }) }

// Recording returns what the server hands out.
func (s *Server) Recording() *Recording {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recording
}

// Dumps returns all requests for the log so far.
func (s *Server) Dumps() []Dump {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Dump(nil), s.dumps...)
}

// Queries returns all statements so far.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// register records a dump. It ends an older one with the same server id, as real servers do.
func (s *Server) register(c *session, d Dump) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dumps = append(s.dumps, d)
	for _, other := range s.conns {
		if other != c && other.dumping != nil && other.dumping.ServerID == d.ServerID {
			other.fail(duplicate(s.recording.Flavor))
		}
	}
	c.dumping = &d
}

func duplicate(flavor string) error {
	if flavor == MySQL {
		return mysql.NewError(mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG,
			"A replica with the same server_uuid/server_id as this replica has connected to the source")
	}
	e := mysql.NewError(erSlaveSameID, "A slave with the same server_uuid/server_id is already connected")
	e.State = "HY000"
	return e
}

const erSlaveSameID = 4052 // of MariaDB

// kill ends a connection. It reports whether there was one.
func (s *Server) kill(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, c := range s.conns {
		if c.id == id {
			conn.Close()
			return true
		}
	}
	return false
}
