package pulsarwire

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// message is one of a batch, as the client library encodes it.
func message(key, value string, properties ...string) []byte {
	var head []byte
	for i := 0; i+1 < len(properties); i += 2 {
		head = appendBytes(head, singleProperties, appendBytes(appendBytes(nil, 1, properties[i]), 2, properties[i+1]))
	}
	if key != "" {
		head = appendBytes(head, singleKey, key)
	}
	head = appendVarint(head, singleSize, uint64(len(value)))
	head = appendVarint(head, singleSequence, 7)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...), value...)
}

func TestPatchReplacesThePropertyByTheFieldsOfTheForm(t *testing.T) {
	for codec := None; codec <= Snappy; codec++ {
		forms := []Form{
			{Base64: true},
			{NullKey: true, NullValue: true},
			{},
			{EmptyKey: true},
			{EmptyKey: true, Base64: true, NullValue: true},
			{Event: 253_402_300_799_000},
			{Event: math.MaxInt64, NullValue: true},
			{Event: 1, Base64: true, EmptyKey: true, NullKey: true},
		}
		var batch []byte
		for i, f := range forms {
			key := ""
			if f.Base64 && !f.EmptyKey {
				key = "AAH/"
			}
			value := string(make([]byte, 100*i))
			if f == (Form{}) {
				batch = append(batch, message("k", value, "a", "1")...)
				continue
			}
			batch = append(batch, message(key, value, "a", "1", PropertyName, f.Property(), "b", "2")...)
		}
		packed, err := codec.pack(bytes.Clone(batch))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Patch(packed, codec)
		if err != nil {
			t.Fatalf("codec %d: %v", codec, err)
		}
		plain, err := codec.unpack(nil, got, len(batch)) // the library has already said how long it is
		if err != nil {
			t.Fatalf("codec %d: %v", codec, err)
		}
		if bytes.Contains(plain, []byte(PropertyName)) {
			t.Errorf("codec %d: the property is still there", codec)
		}
		for i, f := range forms {
			head, s, rest, ok := cutSingle(plain)
			if !ok {
				t.Fatalf("codec %d, message %d: malformed", codec, i)
			}
			want := single{size: 100 * i, sequence: 7, sequenced: true, nullValue: f.NullValue, event: uint64(f.Event)}
			want.key = keyFlags{present: f.Base64 || f.EmptyKey || f == (Form{}), base64: f.Base64, null: f.NullKey, empty: f.EmptyKey}
			if s != want || !bytes.Contains(head, []byte("a")) {
				t.Errorf("codec %d, message %d: %+v, want %+v", codec, i, s, want)
			}
			plain = rest
		}
	}
}
