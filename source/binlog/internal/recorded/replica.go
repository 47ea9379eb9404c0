package recorded

import (
	"encoding/binary"
	"maps"
	"slices"
	"strconv"

	"github.com/go-mysql-org/go-mysql/replication"
)

// Replica returns the log of a replica with the given server id, in one file: the same transactions, with the GTIDs and server ids of
// their origin, at other positions.
func (r *Recording) Replica(file string, serverID uint32) *Recording {
	c := *r
	c.Variables = maps.Clone(r.Variables)
	c.Variables["server_id"] = strconv.FormatUint(uint64(serverID), 10)
	f := File{Name: file}
	for i, from := range r.Files {
		for _, e := range from.Events {
			switch e.Type() {
			case replication.FORMAT_DESCRIPTION_EVENT, replication.MARIADB_GTID_LIST_EVENT, replication.PREVIOUS_GTIDS_EVENT:
				if i > 0 {
					continue
				}
				e = e.from(serverID)
			case replication.ROTATE_EVENT, replication.STOP_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT,
				replication.MARIADB_ANNOTATE_ROWS_EVENT:
				continue
			default: // it belongs to a transaction
			}
			f.Events = append(f.Events, e.at(f.end()))
		}
	}
	c.Files = []File{f}
	return &c
}

// Transaction returns the events from the GTID event n up to the next transaction of MariaDB, or the end of the file.
func (r *Recording) Transaction(n int) []Event {
	events := r.Events()[n:]
	end := slices.IndexFunc(events[1:], func(e Event) bool {
		return e.Type() == replication.MARIADB_GTID_EVENT || e.Type() == replication.ROTATE_EVENT
	})
	if end < 0 {
		return events
	}
	return events[:end+1]
}

// WithGTID gives a transaction of MariaDB another GTID, as if its server had logged it first.
func WithGTID(transaction []Event, g GTID) []Event {
	changed := make([]Event, len(transaction))
	for i, e := range transaction {
		changed[i] = e.from(g.Server)
	}
	first := changed[0]
	binary.LittleEndian.PutUint64(first.Raw[headerSize:], g.Sequence)
	binary.LittleEndian.PutUint32(first.Raw[headerSize+8:], g.Domain)
	resum(first.Raw)
	return changed
}

// from returns the event as another server would have logged it.
func (e Event) from(serverID uint32) Event {
	e.Raw = slices.Clone(e.Raw)
	binary.LittleEndian.PutUint32(e.Raw[atServerID:], serverID)
	resum(e.Raw)
	return e
}
