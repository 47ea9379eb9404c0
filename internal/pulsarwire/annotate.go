package pulsarwire

import (
	"encoding/binary"
	"hash/crc32"
)

// Parts of a frame behind its command: optionally the magic number and size of what the broker adds, that, and the magic
// number, checksum and size of the metadata, the metadata, the payload. The checksum covers all behind itself.
const (
	magicBroker = 0x0e02
	magicFrame  = 0x0e01
	magicSize   = 2
	sizeSize    = 4
	sumSize     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // immutable table

// Annotate returns a frame with notes: it begins with head, appended to dst, and ends with tail, which is a part of the frame or
// new. It reports false if the frame shall stay as it is: it is damaged, or cannot be understood.
//
//   - A message without value and properties gets a property with the name [Marked], since the library takes it for damaged.
//   - A compressed value that is empty when decompressed becomes empty.
//   - A compressed batch is decompressed.
//
// Of an encrypted batch only the fields of its entry can be read: they describe the first message.
func Annotate(dst, frame []byte) (head, tail []byte, ok bool) {
	broker, meta, payload, ok := split(frame)
	if !ok {
		return dst, nil, false
	}
	m, ok := parseMetadata(meta)
	if !ok {
		return dst, nil, false
	}
	plain := payload
	if m.batched && !m.encrypted && Codec(m.compression) != None && m.uncompressed > 0 {
		var err error
		if plain, err = Codec(m.compression).unpack(payload, int(m.uncompressed)); err != nil { //nolint:gosec // a uint32
			return dst, nil, false
		}
	}
	empty := !m.batched && !m.chunked && (len(payload) == 0 || m.sized && m.uncompressed == 0 && (m.encrypted || Codec(m.compression) != None))
	first := [...]Note{{
		Kind: m.key.kind(), Empty: empty || m.nullValue && !m.batched, Sequence: int64(m.sequence), Event: far(m.event), //nolint:gosec // bits
	}}
	notes := first[:]
	if m.batched && !m.encrypted {
		if notes, ok = notesOf(m, plain); !ok {
			return dst, nil, false
		}
	}

	head = append(dst, broker...)
	head = binary.BigEndian.AppendUint16(head, magicFrame)
	sum := len(head)
	head = append(head, make([]byte, sumSize+sizeSize)...) // set below
	begin := len(head)
	head = append(head, meta...) // a later value of a field replaces an earlier one
	head = appendProducer(head, notes, m.producer)
	if empty && !m.encrypted {
		plain = nil
		if !m.properties {
			head = appendBytes(head, metaProperties, appendBytes(appendBytes(nil, 1, mark), 2, ""))
		}
	}
	if m.batched && !m.encrypted && Codec(m.compression) != None {
		head = appendVarint(appendVarint(head, metaCompression, uint64(None)), metaUncompressed, 0)
	}
	binary.BigEndian.PutUint32(head[sum+sumSize:], uint32(len(head)-begin)) //nolint:gosec // a frame is smaller
	crc := crc32.Update(crc32.Checksum(head[sum+sumSize:], castagnoli), castagnoli, plain)
	binary.BigEndian.PutUint32(head[sum:], crc)
	return head, plain, true
}

// appendProducer appends the name of a producer with notes, as a field of the metadata.
func appendProducer(b []byte, notes []Note, name []byte) []byte {
	even := ascend(notes)
	b = binary.AppendUvarint(b, metaProducer<<3|wireBytes)
	b = binary.AppendUvarint(b, uint64(sizeOf(notes, even)+len(name))) //nolint:gosec // not negative
	return append(appendNotes(b, notes, even), name...)
}

// split returns the parts of a frame. It reports false if the frame is damaged.
func split(frame []byte) (broker, meta, payload []byte, ok bool) {
	b := frame
	if len(b) < magicSize {
		return nil, nil, nil, false
	}
	if binary.BigEndian.Uint16(b) == magicBroker {
		if len(b) < magicSize+sizeSize {
			return nil, nil, nil, false
		}
		end := magicSize + sizeSize + int64(binary.BigEndian.Uint32(b[magicSize:]))
		if end > int64(len(b)) {
			return nil, nil, nil, false
		}
		broker, b = b[:end], b[end:]
	}
	if len(b) < magicSize+sumSize+sizeSize || binary.BigEndian.Uint16(b) != magicFrame {
		return nil, nil, nil, false
	}
	sum, b := binary.BigEndian.Uint32(b[magicSize:]), b[magicSize+sumSize:]
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, nil, nil, false
	}
	size := int64(binary.BigEndian.Uint32(b))
	b = b[sizeSize:]
	if size > int64(len(b)) {
		return nil, nil, nil, false
	}
	return broker, b[:size], b[size:], true
}

// notesOf returns the notes on the messages of a batch.
func notesOf(m metadata, b []byte) ([]Note, bool) {
	if m.count < 1 || m.count > len(b)/sizeSize {
		return nil, false
	}
	notes := make([]Note, m.count)
	for i := range notes {
		_, s, rest, ok := cutSingle(b)
		if !ok {
			return nil, false
		}
		if !s.sequenced {
			s.sequence = m.sequence + uint64(i) //nolint:gosec // not negative
		}
		notes[i] = Note{Kind: s.key.kind(), Empty: s.nullValue || s.size == 0, Sequence: int64(s.sequence), Event: far(s.event)} //nolint:gosec // bits
		b = rest
	}
	return notes, true
}
