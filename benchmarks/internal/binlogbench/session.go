package binlogbench

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"
)

// session is one connection to a Stub. It implements server.Handler.
type session struct {
	server.EmptyHandler
	stub   *Stub
	client *server.Conn
	from   int  // transaction behind which the log is wanted
	over   bool // the connection has sent the log, and can do nothing else
}

var startsBehind = regexp.MustCompile(`@slave_connect_state\s*=\s*'\d+-\d+-(\d+)'`)

// HandleQuery answers a statement.
func (c *session) HandleQuery(query string) (*mysql.Result, error) {
	has := func(part string) bool { return strings.Contains(query, part) }
	switch {
	case has("SET "):
		if m := startsBehind.FindStringSubmatch(query); m != nil {
			c.from, _ = strconv.Atoi(m[1])
		}
		return nil, nil
	case has("VARIABLES"):
		return table([]string{"Variable_name", "Value"}, variables(query))
	case has("SHOW GRANTS"):
		return table([]string{"Grants"}, [][]any{{"GRANT ALL PRIVILEGES ON *.* TO `keystrand`@`%`"}})
	case has("@@GLOBAL.gtid_binlog_pos"):
		return table([]string{"place"}, [][]any{{c.stub.place()}})
	case has("COLLATION_CHARACTER_SET_APPLICABILITY"):
		return table([]string{"ID", "FULL_COLLATION_NAME", "CHARACTER_SET_NAME"}, [][]any{{strconv.Itoa(collation), "utf8mb4_general_ci", "utf8mb4"}})
	case has("information_schema.TABLES"):
		return c.schema([]string{"TABLE_SCHEMA", "TABLE_NAME"}, func(int) [][]any { return [][]any{{}} })
	case has("information_schema.COLUMNS"):
		return c.schema([]string{"TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "GENERATION_EXPRESSION", "DATA_TYPE"}, func(int) (all [][]any) {
			for _, n := range names() {
				all = append(all, []any{n, "", "bigint"})
			}
			return all
		})
	case has("information_schema.STATISTICS"):
		return c.schema([]string{"TABLE_SCHEMA", "TABLE_NAME", "INDEX_NAME", "COLUMN_NAME", "SUB_PART"}, func(keys int) [][]any {
			return [][]any{{"PRIMARY", "id", ""}, {"code", "code", ""}}[:keys]
		})
	}
	return nil, fmt.Errorf("the stub does not know the statement: %s", query)
}

// variables returns the global variables that a statement names.
func variables(query string) (found [][]any) {
	for _, v := range [][]any{
		{"version", version},
		{"server_id", strconv.Itoa(serverID)},
		{"hostname", "stub"},
		{"port", "3306"},
		{"log_bin", "ON"},
		{"binlog_format", "ROW"},
		{"binlog_row_image", "FULL"},
		{"binlog_row_metadata", "FULL"},
		{"lower_case_table_names", "0"},
		{"binlog_checksum", "CRC32"},
	} {
		if strings.Contains(strings.ToLower(query), "'"+v[0].(string)+"'") { //nolint:errcheck // it is a string
			found = append(found, v)
		}
	}
	return found
}

// schema returns rows for each table: its names, and then what columns returns for it.
func (c *session) schema(names []string, columns func(keys int) [][]any) (*mysql.Result, error) {
	c.stub.mu.Lock()
	defer c.stub.mu.Unlock()
	var rows [][]any
	for name, keys := range c.stub.keys {
		for _, cells := range columns(keys) {
			rows = append(rows, append([]any{database, name}, cells...))
		}
	}
	return table(names, rows)
}

func table(names []string, rows [][]any) (*mysql.Result, error) {
	r, err := mysql.BuildSimpleTextResultset(names, rows)
	if err != nil {
		return nil, err
	}
	return mysql.NewResult(r), nil
}

// HandleOtherCommand sends the log.
func (c *session) HandleOtherCommand(command byte, data []byte) error {
	switch command {
	case mysql.COM_REGISTER_SLAVE:
		return nil
	case mysql.COM_BINLOG_DUMP:
		c.over = true
		return c.dump()
	}
	return c.EmptyHandler.HandleOtherCommand(command, data)
}

// heartbeat is how often a reader at the end of the log hears from the stub.
const heartbeat = time.Second

// dump sends the log until the connection ends.
func (c *session) dump() error {
	packet := make([]byte, 0, 2*eventSize)
	e := &encoder{time: uint32(time.Now().Unix()), send: func(event []byte) error {
		packet = append(packet[:0], 0, 0, 0, 0, mysql.OK_HEADER)
		packet = append(packet, event...)
		return c.client.WritePacket(packet)
	}}
	if err := e.head(); err != nil {
		return err
	}
	for {
		w, changed := c.stub.after(c.from)
		if w == nil {
			select {
			case <-changed:
			case <-time.After(heartbeat):
				if err := e.heartbeat(); err != nil {
					return err
				}
			}
			continue
		}
		for i, t := range w.transactions {
			if err := e.transaction(w.first+i, database, w.load, t); err != nil {
				return err
			}
		}
		c.from = w.first + len(w.transactions) - 1
	}
}
