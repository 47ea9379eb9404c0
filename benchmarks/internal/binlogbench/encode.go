package binlogbench

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

const (
	domain    = 0
	serverID  = 1
	version   = "10.11.19-MariaDB-log"
	collation = 45 // utf8mb4_general_ci
	eventSize = 8192
	textSize  = 16000 // bytes of the longest text of a table
)

// encoder makes the events of a log, one after the other in the same memory.
type encoder struct {
	send func(event []byte) error
	time uint32
	pos  uint32
	raw  []byte
	text string
}

// begin begins an event.
func (e *encoder) begin(kind replication.EventType) {
	le := binary.LittleEndian
	e.raw = le.AppendUint32(e.raw[:0], e.time)
	e.raw = le.AppendUint32(append(e.raw, byte(kind)), serverID)
	e.raw = append(e.raw, make([]byte, 10)...) // size, position, flags
}

// end sends the event, with a checksum unless it is the first of the connection.
func (e *encoder) end(sum bool) error {
	le := binary.LittleEndian
	size := len(e.raw)
	if sum {
		size += replication.BinlogChecksumLength
	}
	e.pos += uint32(size)
	le.PutUint32(e.raw[9:], uint32(size))
	le.PutUint32(e.raw[13:], e.pos)
	if sum {
		e.raw = le.AppendUint32(e.raw, crc32.ChecksumIEEE(e.raw))
	}
	return e.send(e.raw)
}

// head sends what comes before the first transaction.
func (e *encoder) head() error {
	le := binary.LittleEndian
	e.begin(replication.ROTATE_EVENT)
	e.raw = append(le.AppendUint64(e.raw, 4), "binlog.000001"...)
	if err := e.end(false); err != nil {
		return err
	}
	e.begin(replication.FORMAT_DESCRIPTION_EVENT)
	e.raw = le.AppendUint16(e.raw, 4)
	e.raw = append(e.raw, version...)
	e.raw = append(e.raw, make([]byte, 50-len(version)+4)...)
	e.raw = append(e.raw, replication.EventHeaderSize)
	sizes := make([]byte, replication.MARIADB_START_ENCRYPTION_EVENT)
	for i := range sizes {
		sizes[i] = 8 // of numbers of tables with 6 bytes
	}
	e.raw = append(append(e.raw, sizes...), byte(replication.BINLOG_CHECKSUM_ALG_CRC32))
	return e.end(true)
}

// heartbeat tells that nothing has happened.
func (e *encoder) heartbeat() error {
	pos := e.pos
	e.begin(replication.HEARTBEAT_EVENT)
	e.raw = append(e.raw, "binlog.000001"...)
	err := e.end(true)
	e.pos = pos
	return err
}

// transaction sends one transaction.
func (e *encoder) transaction(number int, database string, l Load, t transaction) error {
	le := binary.LittleEndian
	e.begin(replication.MARIADB_GTID_EVENT)
	e.raw = le.AppendUint32(le.AppendUint64(e.raw, uint64(number)), domain)
	e.raw = append(e.raw, make([]byte, 7)...) // flags, and padding
	if err := e.end(true); err != nil {
		return err
	}
	e.table(database, t.table)
	if err := e.end(true); err != nil {
		return err
	}
	if len(e.text) != l.text() {
		e.text = strings.Repeat("x", l.text())
	}
	most := max(1, eventSize/max(1, l.Value))
	for i := 0; i < t.rows; i += most {
		n := min(most, t.rows-i)
		e.begin(replication.WRITE_ROWS_EVENTv1)
		e.number()
		var flags uint16
		if i+n == t.rows {
			flags = replication.RowsEventStmtEndFlag
		}
		e.raw = append(le.AppendUint16(e.raw, flags), columns, 1<<columns-1)
		for id := t.first + i; id < t.first+i+n; id++ {
			e.raw = append(e.raw, 0) // no NULL
			e.raw = le.AppendUint64(le.AppendUint64(e.raw, uint64(id)), uint64(id))
			e.raw = le.AppendUint32(le.AppendUint32(e.raw, uint32(id%1000)), 1)
			e.raw = append(le.AppendUint16(e.raw, uint16(len(e.text))), e.text...)
		}
		if err := e.end(true); err != nil {
			return err
		}
	}
	e.begin(replication.XID_EVENT)
	e.raw = le.AppendUint64(e.raw, uint64(number))
	return e.end(true)
}

// number adds the number of the table at hand.
func (e *encoder) number() { e.raw = append(e.raw, 18, 0, 0, 0, 0, 0) }

const columns = 5

// names are the names of the columns.
func names() []string { return []string{"id", "code", "customer", "state", "note"} }

// table begins the description of a table.
func (e *encoder) table(database, name string) {
	e.begin(replication.TABLE_MAP_EVENT)
	e.number()
	e.raw = append(e.raw, 0, 0) // flags
	for _, s := range []string{database, name} {
		e.raw = append(append(append(e.raw, byte(len(s))), s...), 0)
	}
	e.raw = append(e.raw, columns, mysql.MYSQL_TYPE_LONGLONG, mysql.MYSQL_TYPE_LONGLONG, mysql.MYSQL_TYPE_LONG, mysql.MYSQL_TYPE_LONG, mysql.MYSQL_TYPE_VARCHAR)
	e.raw = binary.LittleEndian.AppendUint16(append(e.raw, 2), textSize)
	e.raw = append(e.raw, 0) // no column may be NULL
	e.option(replication.TABLE_MAP_OPT_META_SIGNEDNESS, 0)
	e.option(replication.TABLE_MAP_OPT_META_DEFAULT_CHARSET, collation)
	var all []byte
	for _, n := range names() {
		all = append(append(all, byte(len(n))), n...)
	}
	e.option(replication.TABLE_MAP_OPT_META_COLUMN_NAME, all...)
	e.option(replication.TABLE_MAP_OPT_META_SIMPLE_PRIMARY_KEY, 0)
}

func (e *encoder) option(kind byte, value ...byte) {
	e.raw = append(append(e.raw, kind, byte(len(value))), value...)
}
