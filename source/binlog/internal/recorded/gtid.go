package recorded

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

const (
	purged    = "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged."
	unknown   = "Error: connecting slave requested to start from GTID %d-%d-%d, which is not in the master's binlog"
	different = unknown + ". Since the master's binlog contains GTIDs with higher sequence numbers, it probably means that the slave has diverged due to executing extra erroneous transactions"
)

// A GTID names a transaction of MariaDB.
type GTID struct {
	Domain, Server uint32
	Sequence       uint64
}

func (g GTID) String() string { return fmt.Sprintf("%d-%d-%d", g.Domain, g.Server, g.Sequence) }

// GTID returns the GTID of the transaction that the event begins.
func (e Event) GTID() (GTID, bool) {
	if e.Type() != replication.MARIADB_GTID_EVENT {
		return GTID{}, false
	}
	le := binary.LittleEndian
	return GTID{Domain: le.Uint32(e.Body()[8:]), Server: e.ServerID(), Sequence: le.Uint64(e.Body())}, true
}

// state is the last GTID of each domain.
type state map[uint32]GTID

// before returns the state at the beginning of a file, which is the list that the file begins with.
func (f File) before() state {
	s := state{}
	for _, e := range f.Events {
		if e.Type() != replication.MARIADB_GTID_LIST_EVENT {
			continue
		}
		le := binary.LittleEndian
		list := e.Body()[4:]
		for range le.Uint32(e.Body()) & 0x0fffffff {
			s[le.Uint32(list)] = GTID{le.Uint32(list), le.Uint32(list[4:]), le.Uint64(list[8:])}
			list = list[16:]
		}
		break
	}
	return s
}

func (s state) list() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(len(s)))
	for _, g := range slices.SortedFunc(maps.Values(s), func(a, b GTID) int { return cmp.Compare(a.Domain, b.Domain) }) {
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, g.Domain), g.Server), g.Sequence)
	}
	return b
}

// afterMariaDB returns what a reader gets that has everything up to the given GTIDs, and the file where it begins.
func (r *Recording) afterMariaDB(text string) (filter, string, error) {
	wanted := state{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		g, err := mysql.ParseMariadbGTID(word)
		if err != nil {
			return nil, "", fatal(err.Error())
		}
		wanted[g.DomainID] = GTID{g.DomainID, g.ServerID, g.SequenceNumber}
	}
	first := r.Files[0].before()
	known, last := map[GTID]bool{}, maps.Clone(first)
	for _, e := range r.Events() {
		if g, ok := e.GTID(); ok {
			known[g], last[g.Domain] = true, g
		}
	}
	for domain, g := range wanted {
		switch {
		case g.Sequence > last[domain].Sequence:
			return nil, "", fatal(fmt.Sprintf(unknown, g.Domain, g.Server, g.Sequence))
		case g.Sequence > first[domain].Sequence && !known[g]:
			return nil, "", fatal(fmt.Sprintf(different, g.Domain, g.Server, g.Sequence))
		}
	}
	for _, f := range slices.Backward(r.Files) {
		if f.before().within(wanted) {
			left := maps.Clone(wanted)
			for domain, g := range f.before() {
				if left[domain].Sequence <= g.Sequence {
					delete(left, domain)
				}
			}
			return &afterState{wanted: wanted, left: left}, f.Name, nil
		}
	}
	return nil, "", fatal(purged)
}

// within reports whether a reader at another state has everything that is before this one.
func (s state) within(other state) bool {
	for domain, g := range s {
		if other[domain].Sequence < g.Sequence {
			return false
		}
	}
	return true
}

// afterState skips the transactions up to a state. When it has seen the last of them it tells the reader by a list of GTIDs.
type afterState struct {
	wanted, left state // left: the domains whose last transaction is still to come
	skipping     bool
	told         bool
	pos          uint64 // after the last event that was skipped
}

func (a *afterState) skip(e Event) (bool, *Event) {
	if g, ok := e.GTID(); ok {
		if a.skipping = g.Sequence <= a.wanted[g.Domain].Sequence; a.skipping && g == a.left[g.Domain] {
			delete(a.left, g.Domain)
		}
	}
	switch e.Type() {
	case replication.FORMAT_DESCRIPTION_EVENT, replication.ROTATE_EVENT, replication.STOP_EVENT,
		replication.MARIADB_GTID_LIST_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT:
		a.skipping = false
	default: // it belongs to a transaction
	}
	if a.skipping {
		a.pos = e.End()
		return true, nil
	}
	return false, a.end(a.pos)
}

func (a *afterState) end(uint64) *Event {
	if a.told || a.pos == 0 || len(a.left) > 0 {
		return nil
	}
	a.told = true
	e := artificial(replication.MARIADB_GTID_LIST_EVENT, a.pos, a.wanted.list())
	return &e
}

// mysqlSet reads the GTIDs of a dump request.
func mysqlSet(data []byte) (*mysql.MysqlGTIDSet, error) {
	le := binary.LittleEndian
	if len(data) < 10 {
		return nil, mysql.ErrMalformPacket
	}
	at := 10 + uint64(le.Uint32(data[6:])) + 8 // after flags, server id, file and position
	if uint64(len(data)) < at+4 || uint64(len(data)) < at+4+uint64(le.Uint32(data[at:])) {
		return nil, mysql.ErrMalformPacket
	}
	return mysql.DecodeMysqlGTIDSet(data[at+4 : at+4+uint64(le.Uint32(data[at:]))])
}

// mysqlGTIDs returns the GTID that the event begins a transaction with, or those before a file.
func (e Event) mysqlGTIDs() (mysql.GTIDSet, error) {
	switch e.Type() {
	case replication.GTID_EVENT:
		var g replication.GTIDEvent
		if err := g.Decode(e.Body()); err != nil {
			return nil, err
		}
		return g.GTIDNext()
	case replication.GTID_TAGGED_LOG_EVENT:
		var g replication.GtidTaggedLogEvent
		if err := g.Decode(e.Body()); err != nil {
			return nil, err
		}
		return g.GTIDNext()
	case replication.PREVIOUS_GTIDS_EVENT:
		return mysql.DecodeMysqlGTIDSet(e.Body())
	default:
		return nil, nil
	}
}

// afterMySQL returns what a reader gets that has these transactions, and the file where it begins.
func (r *Recording) afterMySQL(set *mysql.MysqlGTIDSet) (filter, string, error) {
	logged, err := r.mysqlLogged()
	if err != nil {
		return nil, "", fatal(err.Error())
	}
	if !logged.Contain(set) {
		return nil, "", fatal("Slave has more GTIDs than the master has, using the master's SERVER_UUID. This may indicate that the end of the " +
			"binary log was truncated or that the last binary log file was lost, e.g., after a power or disk failure when sync_binlog != 1. " +
			"The master may or may not have rolled back transactions that were already replicated to the slave.")
	}
	for _, f := range slices.Backward(r.Files) {
		for _, e := range f.Events {
			if e.Type() != replication.PREVIOUS_GTIDS_EVENT {
				continue
			}
			before, err := e.mysqlGTIDs()
			if err != nil {
				return nil, "", fatal(err.Error())
			}
			if before.IsEmpty() || set.Contain(before) {
				return &afterSet{set: set}, f.Name, nil
			}
		}
	}
	return nil, "", fatal("Cannot replicate because the master purged required binary logs. Replicate the missing transactions from " +
		"elsewhere, or provision a new slave from backup. Consider increasing the master's binary log expiration period.")
}

// mysqlLogged returns the GTIDs of all transactions that the server has or had in its log.
func (r *Recording) mysqlLogged() (mysql.GTIDSet, error) {
	logged, err := mysql.ParseMysqlGTIDSet("")
	if err != nil {
		return nil, err
	}
	for _, e := range r.Events() {
		g, err := e.mysqlGTIDs()
		if err != nil {
			return nil, err
		}
		if g != nil && !g.IsEmpty() {
			if err := logged.Update(g.String()); err != nil {
				return nil, err
			}
		}
	}
	return logged, nil
}

// afterSet skips the transactions of a set.
type afterSet struct {
	set      *mysql.MysqlGTIDSet
	skipping bool
}

func (a *afterSet) skip(e Event) (bool, *Event) {
	switch e.Type() {
	case replication.GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT:
		g, err := e.mysqlGTIDs()
		a.skipping = err == nil && a.set.Contain(g)
	case replication.ANONYMOUS_GTID_EVENT, replication.FORMAT_DESCRIPTION_EVENT, replication.ROTATE_EVENT, replication.STOP_EVENT,
		replication.PREVIOUS_GTIDS_EVENT:
		a.skipping = false
	default: // it belongs to a transaction
	}
	return a.skipping, nil
}

func (*afterSet) end(uint64) *Event { return nil }
