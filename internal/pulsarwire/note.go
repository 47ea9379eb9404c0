package pulsarwire

import (
	"encoding/binary"
	"math"
	"strings"
)

// Note is what the library does not tell of a message.
type Note struct {
	Kind     KeyKind
	Empty    bool  // the value is null or empty, whatever the library returns
	Sequence int64 // given by the producer
	Event    int64 // event time in milliseconds, if it is outside of the library's range; else 0
}

// mark begins the name of a producer that has notes, and is the name of a property that means nothing.
const mark = "\x00keystrand\x00"

// Marked reports whether a property has only been added to keep the library from dropping a message.
func Marked(property string) bool { return property == mark }

const (
	kindBits  = 3
	emptyFlag = 4
	noteSize  = 1 + 8 + 8
)

// The notes of an entry are, behind the mark: one byte, then
//   - uniform: the note on the first message. The sequence ids of the others ascend by one, all else is the same.
//   - table: the number of notes as uint32, then each.
const (
	uniform = 'u'
	table   = 't'
)

// Name returns the name of a producer with notes, of which n is the one on the first message.
func (n Note) Name(producer string) string {
	notes := []Note{n}
	return string(appendNotes(nil, notes, ascend(notes))) + producer
}

func (n Note) append(b []byte) []byte {
	flags := byte(n.Kind)
	if n.Empty {
		flags |= emptyFlag
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(n.Sequence)) //nolint:gosec // bits
	return binary.BigEndian.AppendUint64(b, uint64(n.Event)) //nolint:gosec // bits
}

func readNote(s string) Note {
	u64 := func(s string) (v int64) {
		for i := range 8 {
			v = v<<8 | int64(s[i])
		}
		return v
	}
	return Note{Kind: KeyKind(s[0] & kindBits), Empty: s[0]&emptyFlag != 0, Sequence: u64(s[1:]), Event: u64(s[9:])}
}

// ascend reports whether the notes on an entry are uniform.
func ascend(notes []Note) bool {
	for i, n := range notes {
		n.Sequence -= int64(i)
		if n != notes[0] || n.Event != 0 {
			return false
		}
	}
	return true
}

// sizeOf returns how many bytes appendNotes appends.
func sizeOf(notes []Note, even bool) int {
	if even {
		return len(mark) + 1 + noteSize
	}
	return len(mark) + 1 + 4 + len(notes)*noteSize
}

// appendNotes appends the notes on the messages of an entry. They are not empty. even tells whether they ascend.
func appendNotes(b []byte, notes []Note, even bool) []byte {
	b = append(b, mark...)
	if even {
		return notes[0].append(append(b, uniform))
	}
	b = binary.BigEndian.AppendUint32(append(b, table), uint32(len(notes))) //nolint:gosec // messages of a batch
	for _, n := range notes {
		b = n.append(b)
	}
	return b
}

// Read returns the note on message number index of an entry, and the real name of the producer. It reports false if the name
// has no notes.
func Read(producer string, index int) (n Note, name string, ok bool) {
	rest, ok := strings.CutPrefix(producer, mark)
	if !ok || len(rest) < 1+4 {
		return n, producer, false
	}
	index = max(index, 0) // a message in chunks has -1
	form, rest := rest[0], rest[1:]
	if form == uniform {
		if len(rest) < noteSize {
			return n, producer, false
		}
		n = readNote(rest)
		n.Sequence += int64(index)
		return n, rest[noteSize:], true
	}
	count := int(rest[0])<<24 | int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3])
	rest = rest[4:]
	if len(rest) < count*noteSize || index >= count {
		return n, producer, false
	}
	return readNote(rest[index*noteSize:]), rest[count*noteSize:], true
}

// far returns a time in milliseconds if the library cannot represent it, else 0.
func far(ms uint64) int64 {
	const most = math.MaxInt64 / 1_000_000
	if t := int64(ms); t > most || t < -most { //nolint:gosec // Java sends a negative time so
		return t
	}
	return 0
}
