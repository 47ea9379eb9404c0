package pulsarwire

import "encoding/binary"

// Annotator adds notes to frames. It reuses its memory. It is not safe for concurrent use.
type Annotator struct {
	head  []byte
	plain []byte // batch that was decompressed
	notes []Note
}

// Annotate adds notes to a frame. It reports false if the frame stays as it is: it is damaged, or cannot be understood.
//
// If there is room for the notes in the place of the producer's name, Annotate writes them there, and returns no head. Else
// the new frame consists of head and tail, both valid until the next call. tail may be a part of the frame.
//
//   - A message without value and properties gets a property with the name [Marked], since the library takes it for damaged.
//   - A compressed value that is empty when decompressed becomes empty.
//   - A compressed batch is decompressed.
//
// Of an encrypted batch only the fields of its entry can be read: they describe the first message.
func (a *Annotator) Annotate(frame []byte) (head, tail []byte, ok bool) {
	e, ok := split(frame)
	if !ok {
		return nil, nil, false
	}
	m, ok := parseMetadata(e.meta)
	if !ok {
		return nil, nil, false
	}
	if m.batched && !m.encrypted {
		return a.batch(e, m)
	}
	empty := !m.batched && !m.chunked && m.emptied(e.payload)
	n := m.note(empty || m.nullValue && !m.batched)
	if empty && !m.encrypted {
		return a.empty(e, m, n)
	}
	if stamp(m.producer, n) {
		return nil, nil, true
	}
	return a.rewrite(e, m, e.payload, a.alone(n))
}

// batch adds notes to a frame with a batch.
func (a *Annotator) batch(e parts, m metadata) (head, tail []byte, ok bool) {
	packed, plain := Codec(m.compression) != None, e.payload
	if packed && m.uncompressed > 0 {
		var err error
		if plain, err = Codec(m.compression).unpack(a.plain, plain, int(m.uncompressed)); err != nil { //nolint:gosec // a uint32
			return nil, nil, false
		}
		a.plain = plain
	}
	first, even, ok := firstNote(m, plain)
	switch {
	case !ok:
		return nil, nil, false
	case even && !packed && stamp(m.producer, first):
		return nil, nil, true
	case even:
		a.alone(first)
	default:
		a.notes = appendBatch(a.notes[:0], m, plain)
	}
	var fields []byte
	if packed {
		fields = appendVarint(appendVarint(nil, metaCompression, uint64(None)), metaUncompressed, 0)
	}
	return a.rewrite(e, m, plain, a.notes, fields...)
}

// empty adds a note to a frame with an empty message, and keeps the library from dropping it.
func (a *Annotator) empty(e parts, m metadata, n Note) (head, tail []byte, ok bool) {
	var fields []byte
	if !m.properties {
		fields = appendBytes(nil, metaProperties, appendBytes(appendBytes(nil, 1, mark), 2, ""))
	}
	return a.rewrite(e, m, nil, a.alone(n), fields...)
}

func (a *Annotator) alone(n Note) []Note {
	a.notes = append(a.notes[:0], n)
	return a.notes
}

// rewrite returns a frame with other metadata: notes, and these fields. A later value of a field replaces an earlier one.
func (a *Annotator) rewrite(e parts, m metadata, payload []byte, notes []Note, fields ...byte) (head, tail []byte, ok bool) {
	if !e.sound() {
		return nil, nil, false // the library must see that
	}
	head = e.beginFrame(a.head[:0])
	head = binary.AppendUvarint(head, metaProducer<<3|wireBytes)
	head = binary.AppendUvarint(head, uint64(sizeOf(notes)+len(m.producer))) //nolint:gosec // not negative
	head = append(appendNotes(head, notes), m.producer...)
	head = append(head, fields...)
	e.endFrame(head, payload)
	a.head = head
	return head, payload, true
}

// firstNote returns the note on the first message of a batch. even: those on the others follow from it. It reports false if
// the batch is malformed.
func firstNote(m metadata, b []byte) (first Note, even, ok bool) {
	if m.count < 1 || m.count > len(b)/sizeSize {
		return first, false, false
	}
	even = true
	for i := range m.count {
		_, s, rest, ok := cutSingle(b)
		if !ok {
			return first, false, false
		}
		n := s.note(&m, i)
		if i == 0 {
			first = n
		}
		n.Sequence -= int64(i)
		even = even && n == first && n.Event == 0
		b = rest
	}
	return first, even, true
}

// appendBatch appends the notes on the messages of a batch that is well-formed.
func appendBatch(notes []Note, m metadata, b []byte) []Note {
	for i := range m.count {
		_, s, rest, _ := cutSingle(b)
		notes, b = append(notes, s.note(&m, i)), rest
	}
	return notes
}
