package mysql_test

import (
	"encoding/binary"
	"slices"
	"testing"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

// maker appends transactions to a recording, as a server would log them. Its tables have the columns n, a primary key that
// counts, and the blobs k, v and h.
type maker struct {
	server    *recorded.Server
	recording *recorded.Recording
	sequence  uint64
	rows      uint64
}

// newMaker makes tables known to the server's information_schema.
func newMaker(t *testing.T, s *recorded.Server, database string, tables ...string) *maker {
	t.Helper()
	m := &maker{server: s, recording: s.Recording()}
	for _, e := range m.recording.Events() {
		if g, ok := e.GTID(); ok {
			m.sequence = g.Sequence
		}
	}
	c := *m.recording
	for _, table := range tables {
		for _, name := range []string{"n", "k", "v", "h"} {
			addRow(&c.Columns, map[string]any{"TABLE_SCHEMA": database, "TABLE_NAME": table, "COLUMN_NAME": name, "DATA_TYPE": "blob"})
		}
		addRow(&c.Statistics, map[string]any{
			"TABLE_SCHEMA": database, "TABLE_NAME": table, "INDEX_NAME": "PRIMARY", "COLUMN_NAME": "n",
			"NON_UNIQUE": "0", "SEQ_IN_INDEX": "1",
		})
	}
	m.recording = &c
	m.transaction()
	return m
}

// transaction logs a transaction with these events, rows or none.
func (m *maker) transaction(events ...recorded.Event) {
	m.sequence++
	gtid := binary.LittleEndian.AppendUint64(nil, m.sequence)
	all := []recorded.Event{recorded.NewEvent(1, replication.MARIADB_GTID_EVENT, 1, 0, append(gtid, make([]byte, 11)...))}
	all = append(all, events...)
	all = append(all, recorded.NewEvent(1, replication.XID_EVENT, 1, 0, gtid))
	m.recording = m.recording.Append(all...).Set("gtid_binlog_pos", recorded.GTID{Server: 1, Sequence: m.sequence}.String())
	m.server.Replace(m.recording)
}

// insert returns the description of a table, and an event with one row for each of the values of k, v and h.
func (m *maker) insert(database, table string, values ...[3][]byte) []recorded.Event {
	id := []byte{77, 0, 0, 0, 0, 0}
	b := append(slices.Clone(id), 1, 0, byte(len(database)))
	b = append(append(b, database...), 0, byte(len(table)))
	b = append(append(b, table...), 0, 4)
	b = append(b, gomysql.MYSQL_TYPE_LONGLONG, gomysql.MYSQL_TYPE_BLOB, gomysql.MYSQL_TYPE_BLOB, gomysql.MYSQL_TYPE_BLOB)
	b = append(b, 3, 4, 4, 4, 0b1110) // lengths of 4 bytes; which may be NULL
	b = append(b, replication.TABLE_MAP_OPT_META_SIGNEDNESS, 1, 0x80)
	b = append(b, replication.TABLE_MAP_OPT_META_DEFAULT_CHARSET, 1, 63)
	b = append(b, replication.TABLE_MAP_OPT_META_COLUMN_NAME, 8, 1, 'n', 1, 'k', 1, 'v', 1, 'h')
	b = append(b, replication.TABLE_MAP_OPT_META_SIMPLE_PRIMARY_KEY, 1, 0)

	rows := append(slices.Clone(id), 1, 0, 4, 0b1111)
	for _, v := range values {
		var null byte
		var blobs []byte
		for i, x := range v {
			if x == nil {
				null |= 2 << i
				continue
			}
			blobs = append(binary.LittleEndian.AppendUint32(blobs, uint32(len(x))), x...)
		}
		m.rows++
		rows = append(binary.LittleEndian.AppendUint64(append(rows, null), m.rows), blobs...)
	}
	return []recorded.Event{
		recorded.NewEvent(1, replication.TABLE_MAP_EVENT, 1, 0, b),
		recorded.NewEvent(1, replication.WRITE_ROWS_EVENTv1, 1, 0, rows),
	}
}

// keys sets the unique keys of a table beside its primary key: each is a column.
func (m *maker) keys(database, table string, columns ...string) {
	c := *m.recording
	c.Statistics.Rows = slices.DeleteFunc(slices.Clone(c.Statistics.Rows), func(row []any) bool {
		i := slices.Index(c.Statistics.Columns, "INDEX_NAME")
		return slices.Contains([]any{"k", "v", "h"}, row[i])
	})
	for _, name := range columns {
		addRow(&c.Statistics, map[string]any{
			"TABLE_SCHEMA": database, "TABLE_NAME": table, "INDEX_NAME": name, "COLUMN_NAME": name,
			"NON_UNIQUE": "0", "SEQ_IN_INDEX": "1",
		})
	}
	m.recording = &c
}

// statement logs a statement that is a transaction of its own.
func (m *maker) statement(database, query string) { m.statementOf(database, query, "") }

// statementOf logs a statement with status variables of its session.
func (m *maker) statementOf(database, query, status string) {
	m.sequence++
	gtid := append(binary.LittleEndian.AppendUint64(nil, m.sequence), make([]byte, 11)...)
	gtid[12] = 1 // standalone
	body := append(make([]byte, 8), byte(len(database)), 0, 0, byte(len(status)), 0)
	body = append(append(append(append(body, status...), database...), 0), query...)
	m.recording = m.recording.Append(
		recorded.NewEvent(1, replication.MARIADB_GTID_EVENT, 1, 0, gtid),
		recorded.NewEvent(1, replication.QUERY_EVENT, 1, 0, body),
	).Set("gtid_binlog_pos", recorded.GTID{Server: 1, Sequence: m.sequence}.String())
	m.server.Replace(m.recording)
}

func addRow(t *recorded.Table, values map[string]any) {
	cells := make([]any, len(t.Columns))
	for i, name := range t.Columns {
		cells[i] = values[name]
	}
	t.Rows = append(slices.Clone(t.Rows), cells)
}
