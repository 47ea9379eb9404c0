package recorded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/go-mysql-org/go-mysql/replication"
)

const (
	magic        = "\xfebin"
	headerSize   = replication.EventHeaderSize
	checksumSize = replication.BinlogChecksumLength

	// Offsets in a header.
	atType     = 4
	atServerID = 5
	atSize     = 9
	atLogPos   = 13
	atFlags    = 17

	atCreated = 52 // in the body of a format description

	flagInUse      = 0x1  // of a format description: the file is still being written
	flagArtificial = 0x20 // the event is not in the file
)

// An Event is one event as it is in a file, with header and checksum.
type Event struct {
	Raw   []byte
	Start uint64 // the position of its first byte
}

// Type returns the type of the event.
func (e Event) Type() replication.EventType { return replication.EventType(e.Raw[atType]) }

// End returns the position after its last byte.
func (e Event) End() uint64 { return e.Start + uint64(len(e.Raw)) }

// ServerID returns the id of the server that logged the event first.
func (e Event) ServerID() uint32 { return binary.LittleEndian.Uint32(e.Raw[atServerID:]) }

// Body returns what is between header and checksum.
func (e Event) Body() []byte { return e.Raw[headerSize : len(e.Raw)-checksumSize] }

// NewEvent makes an event with a checksum. Its place is given later: see Recording.Append.
func NewEvent(timestamp uint32, typ replication.EventType, serverID uint32, flags uint16, body []byte) Event {
	raw := make([]byte, headerSize, headerSize+len(body)+checksumSize)
	le := binary.LittleEndian
	le.PutUint32(raw, timestamp)
	raw[atType] = byte(typ)
	le.PutUint32(raw[atServerID:], serverID)
	le.PutUint32(raw[atSize:], uint32(cap(raw)))
	le.PutUint16(raw[atFlags:], flags)
	raw = append(append(raw, body...), make([]byte, checksumSize)...)
	return Event{Raw: resum(raw)}
}

// artificial makes an event that a server sends and has not in its log.
func artificial(typ replication.EventType, pos uint64, body []byte) Event {
	return NewEvent(0, typ, 1, flagArtificial, body).logPos(uint32(pos))
}

func rotateBody(pos uint64, file string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, pos), file...)
}

// again returns a format description as a server sends it to a reader that begins later in the file.
func (e Event) again() Event {
	e = e.logPos(0)
	binary.LittleEndian.PutUint32(e.Raw[headerSize+atCreated:], 0)
	resum(e.Raw)
	return e
}

// intact reports whether the event has its size and its checksum.
func (e Event) intact() bool {
	n := len(e.Raw) - checksumSize
	return uint32(len(e.Raw)) == binary.LittleEndian.Uint32(e.Raw[atSize:]) &&
		binary.LittleEndian.Uint32(e.Raw[n:]) == crc32.ChecksumIEEE(e.Raw[:n])
}

// at returns the event at another place.
func (e Event) at(start uint64) Event {
	e.Start = start
	return e.logPos(uint32(e.End()))
}

// logPos returns the event with another position of its end.
func (e Event) logPos(pos uint32) Event {
	e.Raw = append([]byte(nil), e.Raw...)
	binary.LittleEndian.PutUint32(e.Raw[atLogPos:], pos)
	resum(e.Raw)
	return e
}

func resum(raw []byte) []byte {
	n := len(raw) - checksumSize
	binary.LittleEndian.PutUint32(raw[n:], crc32.ChecksumIEEE(raw[:n]))
	return raw
}

// ParseFile splits the content of a binary log's file. The file must have checksums.
func ParseFile(name string, content []byte) (File, error) {
	if len(content) < len(magic) || string(content[:len(magic)]) != magic {
		return File{}, errors.New("not a binary log")
	}
	f := File{Name: name}
	for pos := len(magic); pos < len(content); {
		rest := content[pos:]
		if len(rest) < headerSize+checksumSize {
			return File{}, fmt.Errorf("event at %d is cut", pos)
		}
		size := int(binary.LittleEndian.Uint32(rest[atSize:]))
		if size < headerSize+checksumSize || size > len(rest) {
			return File{}, fmt.Errorf("event at %d has size %d of %d", pos, size, len(rest))
		}
		e := Event{Raw: rest[:size:size], Start: uint64(pos)}
		if e.Type() == replication.FORMAT_DESCRIPTION_EVENT {
			e.Raw = append([]byte(nil), e.Raw...)
			e.Raw[atFlags] &^= flagInUse // the checksum does not count it
		}
		f.Events = append(f.Events, e)
		pos += size
	}
	return f, nil
}
