package recorded

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"
)

// A session is one connection. It implements server.Handler, whose methods the connection's goroutine calls.
type session struct {
	server    *Server
	conn      net.Conn
	client    *server.Conn
	variables map[string]string // set by SET @name = value
	failed    chan error        // what ends a running dump

	// Guarded by Server.mu.
	id      uint32
	dumping *Dump
}

func newSession(s *Server, conn net.Conn) *session {
	return &session{server: s, conn: conn, variables: map[string]string{}, failed: make(chan error, 1)}
}

func (c *session) run() {
	client, err := c.server.protocol.NewCustomizedConn(c.conn, c.server.users, c)
	if err != nil {
		return
	}
	c.client = client
	c.server.mu.Lock()
	c.id = client.ConnectionID()
	c.server.mu.Unlock()
	for {
		if client.HandleCommand() != nil {
			return
		}
	}
}

// fail ends the running dump with an error that the client gets. Only the first counts.
func (c *session) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

func (c *session) UseDB(string) error { return nil }

func (c *session) HandleQuery(query string) (*mysql.Result, error) { return c.query(query, nil, false) }

func (c *session) HandleStmtPrepare(query string) (params, columns int, context any, err error) {
	return strings.Count(query, "?"), 0, nil, nil
}

func (c *session) HandleStmtExecute(_ any, query string, args []any) (*mysql.Result, error) {
	return c.query(query, args, true)
}

func (c *session) HandleStmtClose(any) error { return nil }

func (c *session) HandleFieldList(string, string) ([]*mysql.Field, error) {
	return nil, mysql.NewError(mysql.ER_UNKNOWN_COM_ERROR, "recorded: no lists of fields")
}

func (c *session) HandleOtherCommand(cmd byte, data []byte) error {
	switch cmd {
	case mysql.COM_REGISTER_SLAVE:
		return nil
	case mysql.COM_BINLOG_DUMP:
		return c.dumpFile(data)
	case mysql.COM_BINLOG_DUMP_GTID:
		return c.dumpGTIDs(data)
	}
	return mysql.NewError(mysql.ER_UNKNOWN_COM_ERROR, fmt.Sprintf("recorded: no command %d", cmd))
}

func (c *session) query(query string, args []any, binary bool) (*mysql.Result, error) {
	query = strings.Clone(query) // it is a part of the connection's buffer
	c.server.mu.Lock()
	c.server.queries = append(c.server.queries, query)
	r := c.server.recording
	c.server.mu.Unlock()

	if c.server.OnQuery != nil {
		if t, err := c.server.OnQuery(query, args); t != nil || err != nil {
			return result(t, binary), err
		}
	}
	verb, rest, _ := strings.Cut(strings.TrimSpace(query), " ")
	switch strings.ToUpper(verb) {
	case "SET":
		c.set(rest)
		return nil, nil
	case "KILL":
		id, err := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(rest), "CONNECTION "), 10, 32)
		if err != nil || !c.server.kill(uint32(id)) {
			return nil, mysql.NewError(mysql.ER_NO_SUCH_THREAD, "Unknown thread id: "+rest)
		}
		return nil, nil
	}
	t, err := r.answer(query, args)
	if err != nil {
		return nil, mysql.NewError(mysql.ER_PARSE_ERROR, err.Error())
	}
	return result(&t, binary), nil
}

func (c *session) set(assignments string) {
	for _, m := range regexp.MustCompile(`@(\w+)\s*:?=\s*(?:'([^']*)'|([\w.]+))`).FindAllStringSubmatch(assignments, -1) {
		c.variables[strings.ToLower(m[1])] = m[2] + m[3]
	}
}

// result makes the text or the binary form of a table. All its columns are texts.
func result(t *Table, binary bool) *mysql.Result {
	if t == nil {
		return nil
	}
	r := mysql.NewResultset(len(t.Columns))
	for i, name := range t.Columns {
		r.Fields[i] = &mysql.Field{Name: []byte(name), Charset: utf8mb4, Type: mysql.MYSQL_TYPE_VAR_STRING}
	}
	for _, cells := range t.Rows {
		var row []byte
		nulls := make([]byte, (len(cells)+9)/8)
		for i, cell := range cells {
			switch {
			case cell != nil:
				row = append(row, mysql.PutLengthEncodedString([]byte(fmt.Sprint(cell)))...)
			case binary:
				nulls[(i+2)/8] |= 1 << ((i + 2) % 8)
			default:
				row = append(row, 0xfb)
			}
		}
		if binary {
			row = append(append([]byte{0}, nulls...), row...)
		}
		r.RowDatas = append(r.RowDatas, row)
	}
	return mysql.NewResult(r)
}

const utf8mb4 = 45 // utf8mb4_general_ci
