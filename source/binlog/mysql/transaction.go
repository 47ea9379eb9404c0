package mysql

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// transaction is the transaction at hand.
type transaction struct {
	name  string      // its GTID, or where it begins
	alone demux.Place // its GTID as a place, which says whether another place has it; empty in files
	time  time.Time   // of its commit
	open  bool        // its end is yet to come
	rows  int         // wanted ones so far
	xid   string      // of an XA transaction whose outcome comes later
	begun bool        // by an event of its own
	phase bool        // its statement is an ALTER that has not happened: it has begun, or failed
}

// describe returns the name for messages.
func (t *transaction) describe() string {
	if t.name == "" {
		return ""
	}
	return ", transaction " + t.name
}

// Flags of MariaDB's GTID events that go-mysql does not name.
const (
	preparedXA  = 64
	completedXA = 128

	// Of the further flags: with binlog_alter_two_phase, an ALTER is logged when it begins, and again when it ends.
	startAlter    = 2
	rollbackAlter = 8
)

// ofMariadb returns the transaction that an event begins. sum reports that the event ends with a checksum.
func ofMariadb(e *replication.BinlogEvent, g *replication.MariadbGTIDEvent, sum bool) transaction {
	t := transaction{time: seconds(e.Header), open: !g.IsStandalone(), begun: true}
	t.named(string(appendMariadbGTID([]byte(mariadbForm), g.GTID)), len(mariadbForm))
	body := e.RawData[replication.EventHeaderSize:]
	if sum {
		body = body[:len(body)-4]
	}
	// The parts that a flag announces follow each other; zeros may follow them.
	rest := body[min(13, len(body)):]
	if g.IsGroupCommit() {
		rest = rest[min(8, len(rest)):]
	}
	if g.Flags&(preparedXA|completedXA) != 0 {
		var xid string
		xid, rest = mariadbXID(rest)
		if g.Flags&preparedXA != 0 {
			t.xid = xid
		}
	}
	t.phase = len(rest) > 0 && rest[0]&(startAlter|rollbackAlter) != 0
	return t
}

// mariadbXID reads an XID, and returns what follows it: a format, the lengths of two parts, and the parts.
func mariadbXID(b []byte) (xid string, rest []byte) {
	if len(b) < 6 {
		return "unknown", nil
	}
	format, first, second := binary.LittleEndian.Uint32(b), int(b[4]), int(b[5])
	data := b[6:]
	if len(data) < first+second {
		return "unknown", nil
	}
	return fmt.Sprintf("%q,%q,%d", data[:first], data[first:first+second], format), data[first+second:]
}

// ofMysql returns the transaction that an event begins. Its first statement tells whether it has an end of its own.
func ofMysql(e *replication.BinlogEvent, g *replication.GTIDEvent, anonymous bool) transaction {
	t := transaction{time: g.OriginalCommitTime(), begun: true}
	if t.time.IsZero() {
		t.time = seconds(e.Header)
	}
	if !anonymous {
		b := fmt.Appendf([]byte(mysqlForm), "%x-%x-%x-%x-%x:", g.SID[:4], g.SID[4:6], g.SID[6:8], g.SID[8:10], g.SID[10:])
		if tag := g.Tag.String(); tag != "" {
			b = append(append(b, tag...), ':')
		}
		t.named(string(strconv.AppendInt(b, g.GNO, 10)), len(mysqlForm))
	}
	return t
}

// named sets the GTID, which follows the form of a place.
func (t *transaction) named(place string, form int) {
	t.alone, t.name = demux.Place(place), place[form:]
}

func seconds(h *replication.EventHeader) time.Time {
	if h.Timestamp == 0 {
		return time.Time{}
	}
	return time.Unix(int64(h.Timestamp), 0)
}
