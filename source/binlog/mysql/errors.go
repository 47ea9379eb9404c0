package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	sqldriver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

var (
	// ErrGone is the error of tables that have to be read from a place that the server's log does not have: its files were
	// purged, or the server never had the GTID.
	ErrGone = demux.ErrGone
	// ErrServerID is the error of all tables when another connection uses the same server id.
	ErrServerID = errors.New("another connection reads the log with the same server id")
)

// anew says how to go on behind a place that no table can be read over.
const anew = "begin a new copy: stop the process, copy the tables, delete all progress of the source from the store, and set Config.Start"

// Numbers of errors that go-mysql does not name.
const (
	erMasterFatalReadingBinlog = 1236
	erConnectionKilled         = 1927 // MariaDB: by KILL
	erStatementTimeout         = 1969 // MariaDB
	erQueryTimeout             = 3024 // MySQL
	erSlaveSameID              = 4052 // MariaDB: ends the older of two connections with one server id
)

// temporaryCodes are errors of a server that is busy, restarts or is stopped, and of statements that were ended from outside.
//
//nolint:gochecknoglobals // immutable table
var temporaryCodes = []uint16{
	gomysql.ER_CON_COUNT_ERROR, gomysql.ER_SERVER_SHUTDOWN, gomysql.ER_NORMAL_SHUTDOWN, gomysql.ER_SHUTDOWN_COMPLETE,
	gomysql.ER_ABORTING_CONNECTION, gomysql.ER_NEW_ABORTING_CONNECTION, gomysql.ER_NET_READ_ERROR, gomysql.ER_NET_READ_INTERRUPTED,
	gomysql.ER_NET_ERROR_ON_WRITE, gomysql.ER_NET_WRITE_INTERRUPTED, gomysql.ER_TOO_MANY_USER_CONNECTIONS, gomysql.ER_LOCK_WAIT_TIMEOUT,
	gomysql.ER_LOCK_DEADLOCK, gomysql.ER_QUERY_INTERRUPTED, gomysql.ER_OUT_OF_RESOURCES, gomysql.ER_CANT_CREATE_THREAD,
	erConnectionKilled, erStatementTimeout, erQueryTimeout,
}

// startError is an error of the connection before the log is read.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

// code returns the server's number of an error, and 0 if it is none of the server's.
func code(err error) (uint16, string) {
	if e, ok := errors.AsType[*gomysql.MyError](err); ok {
		return e.Code, e.Message
	}
	if e, ok := errors.AsType[*sqldriver.MySQLError](err); ok {
		return e.Number, e.Message
	}
	if _, ok := errors.AsType[startError](err); ok { // go-mysql keeps only the text of some errors
		if m := serverError.FindStringSubmatch(err.Error()); m != nil {
			if n, err := strconv.ParseUint(m[1], 10, 16); err == nil {
				return uint16(n), m[2]
			}
		}
	}
	return 0, ""
}

// serverError matches the text of a MyError.
var serverError = regexp.MustCompile(`ERROR (\d+) \(\w*\): (.*)`)

// temporary reports whether another try may help.
func temporary(err error) bool {
	if n, _ := code(err); n != 0 {
		return slices.Contains(temporaryCodes, n)
	}
	if _, ok := errors.AsType[startError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return slices.ContainsFunc([]error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, context.DeadlineExceeded,
		gomysql.ErrBadConn, driver.ErrBadConn, sqldriver.ErrInvalidConn,
	}, func(t error) bool { return errors.Is(err, t) })
}

// explain turns the server's refusal to send the log into an error that says what was wanted and what helps. oldest describes
// what the server still has.
func explain(err error, addr string, serverID uint32, wanted place, oldest string) error {
	n, text := code(err)
	switch {
	case n == erSlaveSameID, n == erMasterFatalReadingBinlog && (strings.Contains(text, "same server_uuid") || strings.Contains(text, "same server_id")):
		return fmt.Errorf("server %s: %w, %d: give every process its own Config.ServerID, also those that replicate: %w",
			addr, ErrServerID, serverID, err)
	case n == erMasterFatalReadingBinlog && strings.Contains(text, "max_allowed_packet"):
		return fmt.Errorf("server %s: it cannot read an event behind %v: raise its max_allowed_packet, if that is the end of a transaction: %w", addr, wanted, err)
	case n == erMasterFatalReadingBinlog:
		return fmt.Errorf("server %s: it cannot send its log from %v on, %s: begin a new copy, or read from a server that has it: %w: %w",
			addr, wanted, oldest, demux.ErrGone, err)
	case n == gomysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, n == gomysql.ER_ACCESS_DENIED_ERROR:
		return fmt.Errorf("server %s: its user may not read the log: GRANT REPLICATION SLAVE ON *.* TO it: %w", addr, err)
	}
	return fmt.Errorf("server %s: %w", addr, err)
}
