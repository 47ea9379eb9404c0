package mysql

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/keystrand/keystrand/internal/settings"
)

const (
	dialTimeout  = 10 * time.Second
	queryTimeout = 30 * time.Second
	idleTimeout  = 30 * time.Second // of the connection for questions
	// searchTimeout bounds the wait for the first event: a server finds a GTID by reading a file from its beginning.
	searchTimeout = 5 * time.Minute
)

// Config has the optional settings. The zero value is a good configuration, but for the user.
type Config struct {
	// User and Password log in. Neither is ever logged. Default: the user without a name.
	User, Password string
	// TLS encrypts the connections. An empty ServerName means the host that is dialed. Default: no TLS.
	TLS *tls.Config
	// Name is put in front of the names of streams, as "Name/database.table", where several servers are read. Default: none.
	Name string
	// Except are tables that are not read although the list of tables has them, in the same form. Default: none.
	Except []string

	// FilePosition reads by file and position instead of by GTID. A source cannot go on at a replica then, nor switch between
	// the two later. Default: false.
	FilePosition bool
	// Start is where a source without progress begins. Default: [End].
	Start Start
	// ServerID is the number of this process among the replicas of the server. No other replica, and no other process, may
	// have it or one of the next CatchUp numbers. Default: a random number above 2^30.
	ServerID uint32
	// Heartbeat is how often an idle server must tell that it lives. A connection that is silent for three times as long is
	// opened again. Default: 10 s.
	Heartbeat time.Duration

	// TableBytes bounds the rows of one table that wait for Fetch. A table that exceeds it is read again later by a connection
	// of its own. Default: 8 MiB.
	TableBytes int
	// QueueBytes bounds the rows of all tables that wait for Fetch. Default: 64 MiB.
	QueueBytes int
	// CatchUp is the maximum number of tables that are read apart from the others at once. Each of them has a connection that gets
	// the whole log, and decodes the rows of all wanted tables to count them: 4 of them cost 4 times the CPU of one reader, here and
	// on the server. Default: 4.
	CatchUp int
	// HandOutUnreadable hands a statement whose text cannot be read to every table, and goes on. Default: false, every table
	// stops at it with an error.
	HandOutUnreadable bool

	// Logger receives each change of state once. Default: nothing is logged.
	Logger *slog.Logger
	// Dial opens the connections. Network is tcp or unix. It is called concurrently. Default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (c Config) withDefaults(addr string) Config {
	c.CatchUp = cmp.Or(c.CatchUp, 4)
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	if c.ServerID == 0 {
		c.ServerID = 1<<30 + rand.Uint32N(1<<30)
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if c.TLS != nil && c.TLS.ServerName == "" && !c.TLS.InsecureSkipVerify {
		c.TLS = c.TLS.Clone()
		c.TLS.ServerName, _, _ = net.SplitHostPort(addr)
	}
	return c
}

// validate returns all errors of a configuration with defaults.
func (c Config) validate(addr string) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("mysql: "+format, args...)) }
	if !strings.HasPrefix(addr, "/") {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			wrong("address %q is not host:port, nor the path of a socket", addr)
		}
	}
	for name, d := range settings.Negative[time.Duration](c) {
		wrong("%s is negative: %v", name, d)
	}
	for name, n := range settings.Negative[int](c) {
		wrong("%s is negative: %d", name, n)
	}
	if 0 < c.Heartbeat && c.Heartbeat < time.Millisecond {
		wrong("Heartbeat %v is less than a millisecond, which servers refuse", c.Heartbeat)
	}
	if c.CatchUp > 0 && uint64(c.ServerID)+uint64(c.CatchUp) > math.MaxUint32 {
		wrong("ServerID %d leaves no %d numbers above it for Config.CatchUp", c.ServerID, c.CatchUp)
	}
	if strings.ContainsAny(c.Name, "/") {
		wrong("Name %q has a slash, which ends it in the names of streams", c.Name)
	}
	errs = append(errs, c.Start.validate(c.FilePosition))
	return errors.Join(errs...)
}
