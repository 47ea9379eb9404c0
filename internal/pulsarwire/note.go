package pulsarwire

import (
	"encoding/binary"
	"math"
	"strings"
)

// Note is what the library does not tell of a message.
type Note struct {
	Kind     KeyKind // on its way to the source, KeyNone is also the kind of text that is not empty
	Empty    bool    // the value is null or empty, whatever the library returns
	Sequence int64   // given by the producer
	Event    int64   // event time in milliseconds, if it is outside of the library's range; else 0
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
	return string(appendNotes(nil, []Note{n})) + producer
}

func (n Note) append(b []byte) []byte {
	b = append(b, n.flags())
	b = binary.BigEndian.AppendUint64(b, uint64(n.Sequence)) //nolint:gosec // bits
	return binary.BigEndian.AppendUint64(b, uint64(n.Event)) //nolint:gosec // bits
}

// flags returns the kind of the key and emptyFlag.
func (n Note) flags() byte {
	if n.Empty {
		return byte(n.Kind) | emptyFlag
	}
	return byte(n.Kind)
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

// sizeOf returns how many bytes appendNotes appends.
func sizeOf(notes []Note) int {
	if len(notes) == 1 {
		return len(mark) + 1 + noteSize
	}
	return len(mark) + 1 + 4 + len(notes)*noteSize
}

// appendNotes appends the notes on the messages of an entry: one each, or one from which the others follow.
func appendNotes(b []byte, notes []Note) []byte {
	b = append(b, mark...)
	if len(notes) == 1 {
		return notes[0].append(append(b, uniform))
	}
	b = binary.BigEndian.AppendUint32(append(b, table), uint32(len(notes))) //nolint:gosec // messages of a batch
	for _, n := range notes {
		b = n.append(b)
	}
	return b
}

// Notes are those on the messages of an entry, with the name of its producer.
type Notes struct {
	Producer string

	first Note
	table string // of the notes on all messages, empty if those behind the first follow from it
}

// NotesOf returns the notes that travel as the name of a producer. It reports false if there are none: Producer is the name.
func NotesOf(name string) (n Notes, ok bool) {
	if n.first, n.Producer, ok = readStamp(name); ok {
		return n, true
	}
	rest, ok := strings.CutPrefix(name, mark)
	if !ok || len(rest) < 1+4 {
		return Notes{Producer: name}, false
	}
	form, rest := rest[0], rest[1:]
	size := noteSize
	if form != uniform {
		size = noteSize * (int(rest[0])<<24 | int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3]))
		rest = rest[4:]
	}
	if len(rest) < size || size < noteSize {
		return Notes{Producer: name}, false
	}
	n = Notes{Producer: rest[size:], first: readNote(rest)}
	if form != uniform {
		n.table = rest[:size]
	}
	return n, true
}

// At returns the note on the message of a batch with this index and text of a key. It reports false if there is none.
func (n *Notes) At(index int, key string) (Note, bool) {
	note := n.first
	index = max(index, 0) // a message in chunks has -1
	switch {
	case n.table == "":
		note.Sequence += int64(index)
	case index >= len(n.table)/noteSize:
		return Note{}, false
	case index > 0:
		note = readNote(n.table[index*noteSize:])
	}
	if note.Kind == KeyNone && key != "" {
		note.Kind = KeyText
	}
	return note, true
}

// far returns a time in milliseconds if the library cannot represent it, else 0.
func far(ms uint64) int64 {
	const most = math.MaxInt64 / 1_000_000
	if t := int64(ms); t > most || t < -most { //nolint:gosec // Java sends a negative time so
		return t
	}
	return 0
}
