package pulsarwire

import (
	"encoding/binary"
	"hash/crc32"
)

// A stamp is a note in the place of the producer's name, with the length of the name:
//   - a zero byte, and one that cannot be in UTF-8, with the kind of the keys and whether the values are empty;
//   - the number of the name in two bytes;
//   - the sequence id of the first message, which may have leading zeros, 1 to 8 bytes;
//   - zeros;
//   - 4 bytes that keep the frame's checksum as it was.
const (
	stampByte  = 0xf8 // and kind and emptyFlag
	stampHead  = 4
	bridgeSize = 4
)

// stamp writes a note over the name of a producer. It reports false, and changes nothing, if there is no room.
//
// A checksum of a frame that was right stays right, and one that was wrong stays wrong: the register behind the name is the
// same. So nothing else of the frame is looked at.
func stamp(name []byte, n Note) bool {
	room := min(len(name)-stampHead-bridgeSize, 8)
	if room < 1 || n.Event != 0 || room < 8 && uint64(n.Sequence)>>(8*room) != 0 { //nolint:gosec // bits
		return false
	}
	number, ok := producers.number(name)
	if !ok {
		return false
	}
	want := ^crc32.Checksum(name, castagnoli)
	end := len(name) - bridgeSize
	name[0], name[1] = 0, stampByte|n.flags()
	binary.BigEndian.PutUint16(name[2:], number)
	for i := range room {
		name[stampHead+i] = byte(n.Sequence >> (8 * (room - 1 - i))) //nolint:gosec // bits
	}
	clear(name[stampHead+room : end])
	binary.LittleEndian.PutUint32(name[end:], bridge(^crc32.Checksum(name[:end], castagnoli), want))
	return true
}

// readStamp returns the note and the name in a stamp.
func readStamp(s string) (n Note, producer string, ok bool) {
	room := min(len(s)-stampHead-bridgeSize, 8)
	if room < 1 || s[0] != 0 || s[1] < stampByte {
		return n, "", false
	}
	for i := range room {
		n.Sequence = n.Sequence<<8 | int64(s[stampHead+i])
	}
	n.Kind, n.Empty = KeyKind(s[1]&kindBits), s[1]&emptyFlag != 0
	producer, ok = producers.name(uint16(s[2])<<8 | uint16(s[3]))
	return n, producer, ok
}

// bridge returns four bytes, as a little-endian number, that lead the register of the checksum from one value to another.
func bridge(from, to uint32) uint32 {
	for range bridgeSize { // back over four zero bytes
		low := lows[to>>24]
		to = (to^castagnoli[low])<<8 | uint32(low)
	}
	return from ^ to // a byte has the effect of a zero byte after it was added to the register
}

// lows has, by the high byte of each value in the table of the checksum, the index of that value.
var lows = func() (lows [256]byte) { //nolint:gochecknoglobals // immutable table
	for i, v := range castagnoli {
		lows[v>>24] = byte(i) //nolint:gosec // an index of 256
	}
	return lows
}()
