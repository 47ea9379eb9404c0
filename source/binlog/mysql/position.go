package mysql

import (
	"fmt"
	"math"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// position is where a reader is: the file for messages, and the place behind the transaction at hand.
type position struct {
	file string
	pos  uint64 // 64 bits wide: the log tells 32

	server  string // for a place in a file
	mariadb mariadbPlace
	mysql   *gomysql.MysqlGTIDSet
}

// begin sets the position to a place.
func (p *position) begin(after place, f facts) error {
	wrong := func() error {
		return fmt.Errorf("%v is no place of this %s server: %s", after, f.flavor(), anew)
	}
	switch a := after.(type) {
	case mariadbPlace:
		if !f.mariadb() {
			return wrong()
		}
		p.mariadb = a
	case mysqlPlace:
		if f.mariadb() {
			return wrong()
		}
		p.mysql, _ = a.gtids.Clone().(*gomysql.MysqlGTIDSet)
	case filePlace:
		if a.server != f.id() {
			return fmt.Errorf("%v is a position on server %q, and this one is %q: follow a new server by GTID, or %s",
				a, a.server, f.id(), anew)
		}
		if a.pos > math.MaxUint32 {
			return fmt.Errorf("%v: a server sends a file only from its first 4 GiB on", a)
		}
		p.server, p.file, p.pos = a.server, a.file, a.pos
	}
	return nil
}

// advance moves the position behind an event.
func (p *position) advance(e *replication.BinlogEvent) {
	h := e.Header
	switch ev := e.Event.(type) {
	case *replication.RotateEvent:
		p.file, p.pos = string(ev.NextLogName), ev.Position
		return
	case *replication.FormatDescriptionEvent, *replication.HeartbeatEvent: // of the file's begin, of the log's end
		return
	}
	if h.LogPos == 0 || h.Flags&replication.LOG_EVENT_ARTIFICIAL_F != 0 {
		return
	}
	high := p.pos &^ math.MaxUint32
	if uint64(h.LogPos) < p.pos&math.MaxUint32 { // the log's 32 bits have overflowed
		high += 1 << 32
	}
	p.pos = high + uint64(h.LogPos)
}

// enterMariadb begins a transaction of MariaDB.
func (p *position) enterMariadb(g gomysql.MariadbGTID) {
	if p.server == "" {
		p.mariadb = p.mariadb.with(g)
	}
}

// enterMysql begins a transaction of MySQL.
func (p *position) enterMysql(e *replication.GTIDEvent) {
	if p.mysql != nil {
		p.mysql.AddGTIDWithTag([16]byte(e.SID), e.Tag, e.GNO)
	}
}

// behind returns the place behind the transaction at hand. It must not be kept. For a place in a file, the transaction must
// have ended.
func (p *position) behind() place {
	switch {
	case p.server != "":
		return filePlace{p.server, p.file, p.pos}
	case p.mysql != nil:
		return mysqlPlace{p.mysql}
	}
	return p.mariadb
}

// end returns the place behind the transaction at hand, which has ended. It is empty if the server cannot send its log from
// there.
func (p *position) end() demux.Place {
	if p.server != "" && p.pos > math.MaxUint32 {
		return ""
	}
	return p.behind().text()
}
