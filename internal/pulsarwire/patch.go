package pulsarwire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"unicode/utf8"
)

// Form is what a message of a batch says beside the bytes of its key and value, and what the library cannot set.
type Form struct {
	Event int64 // event time in milliseconds since 1970, if the library cannot write it; else 0. Not negative

	Base64    bool // the key is base64 of bytes
	EmptyKey  bool // the key is there and empty
	NullKey   bool
	NullValue bool
}

// FormOf returns the form of a message and the text of its key. kind is the one in which the key was read, or KeyNone. A key
// that is not UTF-8 is sent as bytes, since other clients cannot read it as text.
func FormOf(key, value []byte, kind KeyKind) (f Form, text string) {
	f.NullValue = value == nil
	switch {
	case key == nil:
		f.NullKey = kind == KeyNull
	case kind == KeyBytes, !utf8.Valid(key):
		f.Base64, f.EmptyKey = true, len(key) == 0
		text = base64.StdEncoding.EncodeToString(key)
	default:
		f.EmptyKey = len(key) == 0
		text = string(key)
	}
	return f, text
}

// PropertyName is the name of a property that asks [Patch] for a form. Its value is that of [Form.Property].
const PropertyName = mark

// Property returns the value of the property that asks [Patch] for this form.
func (f Form) Property() string {
	bits := byte(0)
	for i, set := range [...]bool{f.Base64, f.EmptyKey, f.NullKey, f.NullValue} {
		if set {
			bits |= 1 << i
		}
	}
	if f.Event == 0 {
		return string([]byte{bits})
	}
	return string(hex.AppendEncode([]byte{bits}, binary.BigEndian.AppendUint64(nil, uint64(f.Event)))) //nolint:gosec // not negative
}

// fields are what a Form stands for, each encoded in two bytes, by the bits of a property.
//
//nolint:gochecknoglobals // immutable table
var fields = [...][2]byte{
	{singleBase64<<3 | wireVarint, 1},
	{singleKey<<3 | wireBytes, 0},
	{singleNullKey<<3 | wireVarint, 1},
	{singleNullValue<<3 | wireVarint, 1},
}

// Patch returns a batch with the forms that its messages ask for. Where a message has the property, the fields of its form
// replace it, as often as they fill its place: the size of the batch is part of what the library has prepared. Patch may
// change b.
func Patch(b []byte, c Codec) ([]byte, error) {
	plain, err := c.unpack(nil, b, unknown)
	if err != nil {
		return nil, fmt.Errorf("decompress a batch: %w", err)
	}
	for rest := plain; len(rest) > 0; {
		head, _, next, ok := cutSingle(rest)
		if !ok || !patch(head) {
			return nil, fmt.Errorf("batch of the client library: malformed")
		}
		rest = next
	}
	return c.pack(plain)
}

// patch replaces the property in the metadata of one message. It reports false if they are malformed.
func patch(head []byte) bool {
	for i := 0; i < len(head); {
		tag, size, end := next(head, i)
		if end == 0 {
			return false
		}
		if tag == singleProperties<<3|wireBytes {
			if bits, event, found := formIn(head[end-int(size) : end]); found { //nolint:gosec // at most len(head)
				fill(setEvent(head[i:end], event), bits)
			}
		}
		i = end
	}
	return true
}

// asks begins a property that asks for a form.
var asks = appendBytes(nil, 1, mark) //nolint:gochecknoglobals // immutable

// formIn returns the value of a property that asks for a form.
func formIn(property []byte) (bits byte, event uint64, found bool) {
	rest, ok := bytes.CutPrefix(property, asks)
	if !ok || len(rest) < 3 || rest[0] != 2<<3|wireBytes || int(rest[1]) != len(rest)-2 {
		return 0, 0, false
	}
	bits = rest[2]
	switch at := rest[3:]; len(at) {
	case 0:
		return bits, 0, true
	case 16:
		ms, err := hex.DecodeString(string(at))
		if err != nil {
			return 0, 0, false
		}
		return bits, binary.BigEndian.Uint64(ms), true
	}
	return 0, 0, false
}

// setEvent writes the field of an event time over the first ten bytes of b, and returns the others. An event of 0 is none.
func setEvent(b []byte, event uint64) []byte {
	if event == 0 {
		return b
	}
	b[0] = singleEvent<<3 | wireVarint
	for i := 1; i < 9; i++ { // nine bytes hold 63 bits
		b[i] = byte(event) | 0x80
		event >>= 7
	}
	b[9] = byte(event)
	return b[10:]
}

// fill writes the fields of a form over b, whose length is even, and again until it is full. The last value of a field
// counts. A form without bits becomes a field with its default.
func fill(b []byte, bits byte) {
	var set [][2]byte
	for i, f := range fields {
		if bits&(1<<i) != 0 {
			set = append(set, f)
		}
	}
	if len(set) == 0 {
		set = append(set, [2]byte{singleNullKey<<3 | wireVarint, 0})
	}
	for i := 0; i+1 < len(b); i += 2 {
		copy(b[i:], set[i/2%len(set)][:])
	}
}
