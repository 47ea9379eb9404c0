package recorded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// A Form is a way in which MySQL logs transactions.
type Form string

// Forms of MySQL's log.
const (
	GTIDs    Form = "GTIDs"
	Tagged   Form = "tagged GTIDs"   // every other transaction has a tag
	Payloads Form = "payload events" // each transaction but DDL is one compressed event
)

// SourceUUID names the server of all logs in MySQL's form.
const SourceUUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// SourceTag is the tag of tagged GTIDs.
const SourceTag = "orders"

// MySQL returns the log as MySQL would have written it. The events are encoded by this package, not recorded. It does not know
// compressed events of MariaDB, nor two-phase transactions.
func (r *Recording) MySQL(tb testing.TB, form Form) *Recording {
	tb.Helper()
	set, err := mysql.ParseMysqlGTIDSet("")
	if err != nil {
		tb.Fatal(err)
	}
	m := &mysqlWriter{form: form, executed: set, next: map[string]int64{}}
	c := *r
	c.Flavor, c.Files = MySQL, nil
	for _, f := range r.Files {
		file, err := m.file(f)
		if err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
		c.Files = append(c.Files, file)
	}
	c.Variables = maps.Clone(r.Variables)
	for name := range c.Variables {
		switch name { // of MariaDB alone
		case "binlog_annotate_row_events", "gtid_binlog_pos", "gtid_binlog_state", "gtid_current_pos", "gtid_domain_id",
			"gtid_slave_pos", "gtid_strict_mode", "log_bin_compress", "log_slave_updates", "master_verify_checksum":
			delete(c.Variables, name)
		}
	}
	maps.Copy(c.Variables, map[string]string{
		"version": mysqlVersion, "server_uuid": SourceUUID, "gtid_mode": "ON", "enforce_gtid_consistency": "ON",
		"gtid_executed": m.executed.String(), "binlog_transaction_compression": "OFF", "binlog_row_value_options": "",
		"source_verify_checksum": "OFF", "log_replica_updates": "ON",
	})
	if form == Payloads {
		c.Variables["binlog_transaction_compression"] = "ON"
	}
	return &c
}

const mysqlVersion = "8.4.3"

// mysqlLengths are the lengths of the fixed parts of the bodies, by type of event, from 1.
const mysqlLengths = "\x00\x0d\x00\x08\x00\x00\x00\x00\x04\x00\x04\x00\x00\x00\x62\x00\x04\x1a\x08\x00\x00\x00\x08\x08\x08\x02\x00\x00\x00" +
	"\x0a\x0a\x0a\x2a\x2a\x00\x12\x34\x00\x0a\x28\x00\x00"

// A mysqlWriter writes one log in MySQL's form.
type mysqlWriter struct {
	form     Form
	executed mysql.GTIDSet
	next     map[string]int64 // the last number, by tag
	count    int
	payload  []Event // of the open transaction
}

func (m *mysqlWriter) file(f File) (File, error) {
	out := File{Name: f.Name}
	add := func(events ...Event) {
		for _, e := range events {
			out.Events = append(out.Events, e.at(out.end()))
		}
	}
	for _, e := range f.Events {
		time, id, flags := binary.LittleEndian.Uint32(e.Raw), e.ServerID(), binary.LittleEndian.Uint16(e.Raw[atFlags:])
		event := func(typ replication.EventType, body []byte) Event {
			return NewEvent(time, typ, id, flags&^flagArtificial, body)
		}
		switch e.Type() {
		case replication.FORMAT_DESCRIPTION_EVENT:
			add(event(e.Type(), mysqlFormat(time)))
		case replication.MARIADB_GTID_LIST_EVENT:
			add(event(replication.PREVIOUS_GTIDS_EVENT, m.executed.Encode()))
		case replication.MARIADB_BINLOG_CHECKPOINT_EVENT, replication.MARIADB_ANNOTATE_ROWS_EVENT:
		case replication.MARIADB_GTID_EVENT:
			gtid, err := m.gtid(time, id)
			if err != nil {
				return File{}, err
			}
			add(gtid)
			if e.Body()[12]&mariaDBStandalone == 0 {
				m.payload = nil
				add(m.inPayload(QueryEvent(time, id, "", "BEGIN"), false)...)
			}
		case replication.WRITE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv1:
			add(m.inPayload(event(e.Type()+(replication.WRITE_ROWS_EVENTv2-replication.WRITE_ROWS_EVENTv1), secondVersion(e.Body())), false)...)
		case replication.TABLE_MAP_EVENT:
			add(m.inPayload(event(e.Type(), e.Body()), false)...)
		case replication.QUERY_EVENT:
			add(m.inPayload(event(e.Type(), e.Body()), isStatement(e, "COMMIT"))...)
		case replication.XID_EVENT:
			add(m.inPayload(event(e.Type(), e.Body()), true)...)
		case replication.ROTATE_EVENT, replication.STOP_EVENT:
			add(event(e.Type(), e.Body()))
		default:
			return File{}, fmt.Errorf("event at %d: MySQL has no form of %s", e.Start, e.Type())
		}
	}
	return out, nil
}

const mariaDBStandalone = 1 // flag of a MariaDB GTID event: no transaction follows, but one statement

// inPayload returns the events to log now: e itself, or nothing until the transaction ends, and then its payload.
func (m *mysqlWriter) inPayload(e Event, last bool) []Event {
	if m.form != Payloads || m.payload == nil && e.Type() == replication.QUERY_EVENT && !isStatement(e, "BEGIN") {
		return []Event{e}
	}
	m.payload = append(m.payload, e)
	if !last {
		return nil
	}
	p := PayloadEvent(m.payload...)
	m.payload = nil
	return []Event{p}
}

// isStatement reports whether a query event has the statement, which ends its body after the zero byte of its database.
func isStatement(e Event, sql string) bool { return bytes.HasSuffix(e.Body(), []byte("\x00"+sql)) }

// gtid returns the event with the next GTID.
func (m *mysqlWriter) gtid(time, id uint32) (Event, error) {
	tag := ""
	if m.count++; m.form == Tagged && m.count%2 == 0 {
		tag = SourceTag
	}
	m.next[tag]++
	text := SourceUUID + ":"
	if tag != "" {
		text += tag + ":"
	}
	if err := m.executed.Update(text + strconv.FormatInt(m.next[tag], 10)); err != nil {
		return Event{}, err
	}
	return MySQLGTIDEvent(time, id, tag, m.next[tag]), nil
}

func mysqlFormat(time uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, 4)
	b = append(b, mysqlVersion...)
	b = append(b, make([]byte, atCreated-len(b))...)
	b = append(le.AppendUint32(b, time), byte(headerSize))
	b = append(b, mysqlLengths...)
	return append(b, byte(replication.BINLOG_CHECKSUM_ALG_CRC32))
}

// secondVersion turns the body of a rows event of version 1 into one of version 2, which has room for more after table and flags.
func secondVersion(body []byte) []byte {
	b := append([]byte(nil), body[:8]...)
	return append(append(b, 2, 0), body[8:]...)
}
