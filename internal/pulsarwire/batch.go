package pulsarwire

import "encoding/binary"

// cutSingle returns the metadata of the first message of a batch, encoded, what they say, and the bytes behind the message.
func cutSingle(b []byte) (head []byte, s single, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, s, nil, false
	}
	size := int64(binary.BigEndian.Uint32(b))
	b = b[4:]
	if size > int64(len(b)) {
		return nil, s, nil, false
	}
	head, b = b[:size], b[size:]
	if s, ok = parseSingle(head); !ok || s.size < 0 || s.size > len(b) {
		return nil, s, nil, false
	}
	return head, s, b[s.size:], true
}
