package recorded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// Words of a server's error 1236.
const (
	noFile     = "Could not find first log file name in binary log index file"
	impossible = "Client requested master to start replication from impossible position"
	bogus      = "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on master"
	badEvent   = "event read from binlog did not pass crc check"
)

func fatal(text string) error {
	return mysql.NewError(mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG, text)
}

// errCut ends a dump by closing its connection.
var errCut = errors.New("cut")

// A dump is how far a reader of the log is.
type dump struct {
	*session
	file      string // of the next event
	next      int    // its number in the file
	filter    filter
	annotate  bool
	heartbeat time.Duration // 0: none
	last      uint64        // position after the last event
}

// A filter decides which transactions a reader gets.
type filter interface {
	// skip reports whether the reader has this event already. It returns an event to send before, or nil.
	skip(Event) (bool, *Event)
	// end returns an event to send at the end of the log, or nil.
	end(pos uint64) *Event
}

func (c *session) dumpFile(data []byte) error {
	if len(data) < 10 {
		return mysql.ErrMalformPacket
	}
	le := binary.LittleEndian
	request := Dump{ServerID: le.Uint32(data[6:]), Pos: le.Uint32(data), File: string(data[10:])}
	d := &dump{session: c, annotate: le.Uint16(data[4:])&replication.BINLOG_SEND_ANNOTATE_ROWS_EVENT != 0}
	r := c.server.Recording()
	if state, ok := c.variables["slave_connect_state"]; ok && r.Flavor == MariaDB {
		request.File, request.Pos, request.GTIDs = "", 0, state
		filter, file, err := r.afterMariaDB(state)
		return c.dump(request, d, file, uint32(len(magic)), filter, err)
	}
	if request.File == "" {
		request.File = r.Files[0].Name
	}
	return c.dump(request, d, request.File, request.Pos, all{}, nil)
}

func (c *session) dumpGTIDs(data []byte) error {
	set, err := mysqlSet(data)
	if err != nil {
		return err
	}
	request := Dump{ServerID: binary.LittleEndian.Uint32(data[2:]), GTIDs: set.String()}
	filter, file, err := c.server.Recording().afterMySQL(set)
	return c.dump(request, &dump{session: c}, file, uint32(len(magic)), filter, err)
}

// dump sends the log until the connection ends. The error err is of the request.
func (c *session) dump(request Dump, d *dump, file string, pos uint32, filter filter, err error) error {
	c.server.register(c, request)
	if c.server.OnDump != nil {
		if err := c.server.OnDump(request); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	d.file, d.filter = file, filter
	if ns, err := strconv.ParseFloat(c.variables["master_heartbeat_period"], 64); err == nil {
		d.heartbeat = time.Duration(ns)
	}
	if err := d.start(pos); err != nil {
		return err
	}
	// A client that reads the log says nothing more, so a read returns when it is gone.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = c.conn.Read(make([]byte, 1))
	}()
	err = d.run(gone)
	if errors.Is(err, errCut) {
		err = nil
	} else {
		_ = c.client.WriteValue(err)
	}
	c.conn.Close()
	<-gone
	return err
}

// start sends what comes before the first event: the name of the file, and its format if the first event is a later one.
func (d *dump) start(pos uint32) error {
	f, ok := d.server.Recording().file(d.file)
	if !ok {
		return fatal(noFile)
	}
	d.last = f.end()
	if uint64(pos) > f.end() {
		return fatal(fmt.Sprintf("%s; the first event '%s' at %d, the last event read from '%s' at 4, the last byte read from '%s' at 4.",
			impossible, d.file, pos, d.file, d.file))
	}
	d.next = len(f.Events)
	if uint32(f.end()) != pos {
		d.next = f.at(pos)
	}
	if err := d.send(artificial(replication.ROTATE_EVENT, 0, rotateBody(uint64(pos), d.file)), false); err != nil {
		return err
	}
	if pos <= uint32(len(magic)) {
		return nil
	}
	if err := d.send(f.Events[0].again(), true); err != nil {
		return err
	}
	if d.next < 0 {
		return fatal(bogus)
	}
	return nil
}

func (d *dump) run(gone <-chan struct{}) error {
	for {
		e, changed, err := d.take()
		if err != nil {
			return err
		}
		if e == nil {
			if list := d.filter.end(d.last); list != nil {
				if err := d.send(*list, true); err != nil {
					return err
				}
			}
			if err := d.wait(changed, gone); err != nil {
				return err
			}
			continue
		}
		skip, before := d.filter.skip(*e)
		if e.Start > 0 { // it is in the file
			d.last = e.End()
		}
		if skip || e.Type() == replication.MARIADB_ANNOTATE_ROWS_EVENT && !d.annotate {
			continue
		}
		if before != nil {
			if err := d.send(*before, true); err != nil {
				return err
			}
		}
		if err := d.send(*e, true); err != nil {
			return err
		}
	}
}

// take returns the next event. If there is none yet it returns a channel that is closed when there may be one.
func (d *dump) take() (*Event, <-chan struct{}, error) {
	s := d.server
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case err := <-d.failed:
		return nil, nil, err
	default:
	}
	number := 0
	for i, f := range s.recording.Files {
		if f.Name != d.file {
			number += len(f.Events)
			continue
		}
		if d.next < len(f.Events) {
			number += d.next
			if s.cuts[number] {
				delete(s.cuts, number)
				return nil, nil, errCut
			}
			if s.limit >= 0 && number >= s.limit {
				return nil, s.changed, nil
			}
			e := f.Events[d.next]
			if !e.intact() && s.recording.Variables["master_verify_checksum"] == "ON" {
				return nil, nil, fatal(fmt.Sprintf("%s; the first event '%s' at %d, the last event read from '%s' at %d.",
					badEvent, d.file, e.Start, d.file, e.Start))
			}
			d.next++
			return &e, nil, nil
		}
		if i == len(s.recording.Files)-1 {
			return nil, s.changed, nil
		}
		d.file, d.next = s.recording.Files[i+1].Name, 0
		e := artificial(replication.ROTATE_EVENT, 0, rotateBody(uint64(len(magic)), d.file))
		return &e, nil, nil
	}
	return nil, nil, fatal(noFile)
}

func (d *dump) wait(changed, gone <-chan struct{}) error {
	var beat <-chan time.Time
	if d.heartbeat > 0 {
		timer := time.NewTimer(d.heartbeat)
		defer timer.Stop()
		beat = timer.C
	}
	select {
	case err := <-d.failed:
		return err
	case <-changed:
		return nil
	case <-gone:
		return errCut
	case <-beat:
	}
	d.server.mu.Lock()
	silent := d.server.silent
	d.server.mu.Unlock()
	if silent {
		return nil
	}
	return d.send(NewEvent(0, replication.HEARTBEAT_EVENT, 1, 0, []byte(d.file)).logPos(uint32(d.last)), true)
}

// send sends an event. The first one has no checksum, since the client does not know the format yet.
func (d *dump) send(e Event, checksum bool) error {
	raw := e.Raw
	if !checksum {
		raw = append([]byte(nil), raw[:len(raw)-checksumSize]...)
		binary.LittleEndian.PutUint32(raw[atSize:], uint32(len(raw)))
	}
	packet := make([]byte, 4, 5+len(raw))
	packet = append(append(packet, mysql.OK_HEADER), raw...)
	if err := d.client.WritePacket(packet); err != nil {
		return errCut
	}
	return nil
}

// all is the filter of a reader that wants every event.
type all struct{}

func (all) skip(Event) (bool, *Event) { return false, nil }
func (all) end(uint64) *Event         { return nil }
