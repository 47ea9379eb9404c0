package pulsarwire

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
)

// entry is a frame as a broker sends it.
func entry(meta, payload []byte, broker bool) []byte {
	var b []byte
	if broker {
		b = binary.BigEndian.AppendUint16(b, magicBroker)
		b = append(binary.BigEndian.AppendUint32(b, 4), 8, 1, 16, 2)
	}
	b = binary.BigEndian.AppendUint16(b, magicFrame)
	rest := append(binary.BigEndian.AppendUint32(nil, uint32(len(meta))), meta...)
	rest = append(rest, payload...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rest, castagnoli))
	return append(b, rest...)
}

// meta is metadata with fields, and those that are required.
func meta(fields ...[]byte) []byte {
	b := appendVarint(appendVarint(appendBytes(nil, metaProducer, "orders"), metaSequence, 41), 3, 1)
	return append(b, slices.Concat(fields...)...)
}

func number(number, value uint64) []byte     { return appendVarint(nil, number, value) }
func text(number uint64, text string) []byte { return appendBytes(nil, number, text) }

// annotated returns the parts of a frame with notes, checked as the library checks them.
func annotated(t *testing.T, frame []byte) (m metadata, raw, payload []byte) {
	t.Helper()
	before := bytes.Clone(frame)
	var a Annotator
	head, tail, ok := a.Annotate(frame)
	if !ok {
		t.Fatal("the frame is left as it is")
	}
	if !bytes.Equal(frame, before) {
		t.Error("the frame has changed")
	}
	e, ok := split(slices.Concat(head, tail))
	if !ok || !e.sound() {
		t.Fatal("the library would find the frame damaged")
	}
	raw, payload = e.meta, e.payload
	if m, ok = parseMetadata(raw); !ok {
		t.Fatal("malformed metadata")
	}
	return m, raw, payload
}

// noteOf returns the note on a message with this text of a key, and the name of its producer.
func noteOf(name string, index int, key string) (Note, string, bool) {
	notes, ok := NotesOf(name)
	if !ok {
		return Note{}, notes.Producer, false
	}
	n, ok := notes.At(index, key)
	return n, notes.Producer, ok
}

// keyIn returns the text of the key in metadata.
func keyIn(b []byte, number uint64) string {
	for i := 0; i < len(b); {
		tag, size, end := next(b, i)
		if end == 0 {
			return ""
		}
		if tag == number<<3|wireBytes {
			return string(b[end-int(size) : end])
		}
		i = end
	}
	return ""
}

func TestAnnotateNotesTheFormOfASingleMessage(t *testing.T) {
	far := uint64(253402300799000)
	for name, c := range map[string]struct {
		fields  []byte
		payload string
		want    Note
	}{
		"text":         {text(metaKey, "a"), "v", Note{Kind: KeyText}},
		"bytes":        {append(text(metaKey, "YQ=="), number(metaBase64, 1)...), "v", Note{Kind: KeyBytes}},
		"flag is off":  {append(text(metaKey, "YQ=="), number(metaBase64, 0)...), "v", Note{Kind: KeyText}},
		"no key":       {nil, "v", Note{Kind: KeyNone}},
		"flag alone":   {number(metaBase64, 1), "v", Note{Kind: KeyNone}},
		"empty key":    {text(metaKey, ""), "v", Note{Kind: KeyText}},
		"null key":     {number(metaNullKey, 1), "v", Note{Kind: KeyNull}},
		"year 9999":    {number(metaEvent, far), "v", Note{Event: int64(far)}},
		"before 1678":  {number(metaEvent, uint64(1<<64-20_000_000_000_000)), "v", Note{Event: -20_000_000_000_000}},
		"near":         {number(metaEvent, 1_700_000_000_000), "v", Note{}},
		"tombstone":    {append(text(metaKey, "a"), number(metaNullValue, 1)...), "", Note{Kind: KeyText, Empty: true}},
		"empty value":  {text(metaKey, "a"), "", Note{Kind: KeyText, Empty: true}},
		"empty, LZ4":   {append(number(metaCompression, 1), number(metaUncompressed, 0)...), "\x00", Note{Empty: true}},
		"sealed, none": {append(text(metaEncryption, "k"), number(metaUncompressed, 0)...), "0123456789abcdef", Note{Empty: true}},
		"unknown":      {slices.Concat(number(500, 7), text(501, "x"), []byte{0xfd, 0x1f, 1, 2, 3, 4}), "v", Note{}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, broker := range []bool{false, true} {
				m, raw, payload := annotated(t, entry(meta(c.fields), []byte(c.payload), broker))
				c.want.Sequence = 41
				got, producer, ok := noteOf(string(m.producer), 0, keyIn(raw, metaKey))
				if !ok || got != c.want || producer != "orders" {
					t.Errorf("%+v, %q, %t; want %+v", got, producer, ok, c.want)
				}
				if !bytes.HasPrefix(raw, meta(c.fields)) {
					t.Error("fields of the producer are lost")
				}
				if sealed := name == "sealed, none"; c.want.Empty && !sealed && (len(payload) > 0 || !m.properties) {
					t.Errorf("payload %q, properties %t: the library would drop it", payload, m.properties)
				} else if !c.want.Empty && (string(payload) != c.payload || m.properties) {
					t.Errorf("payload %q, properties %t", payload, m.properties)
				}
			}
		})
	}
}

func TestAnnotateNotesEachMessageOfABatch(t *testing.T) {
	base64 := append(text(singleKey, "YQ=="), number(singleBase64, 1)...)
	single := func(value string, fields ...[]byte) []byte {
		head := append(slices.Concat(fields...), number(singleSize, uint64(len(value)))...)
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...), value...)
	}
	for codec := None; codec <= Snappy; codec++ {
		for name, c := range map[string]struct {
			batch [][]byte
			want  []Note
		}{
			"one":     {[][]byte{single("1", base64)}, []Note{{Kind: KeyBytes, Sequence: 41}}},
			"uniform": {[][]byte{single("1", base64), single("2", base64)}, []Note{{Kind: KeyBytes, Sequence: 41}, {Kind: KeyBytes, Sequence: 42}}},
			"mixed": {
				[][]byte{
					single("1", text(singleKey, "a")), single("2", base64), single("3"), single("", text(singleKey, ""), number(singleNullValue, 1)),
					single("5", number(singleNullKey, 1), number(singleSequence, 7)), single("6", number(singleEvent, 253402300799000)),
				},
				[]Note{
					{Kind: KeyText, Sequence: 41},
					{Kind: KeyBytes, Sequence: 42},
					{Sequence: 43},
					{Kind: KeyText, Empty: true, Sequence: 44},
					{Kind: KeyNull, Sequence: 7},
					{Sequence: 46, Event: 253402300799000},
				},
			},
		} {
			plain := slices.Concat(c.batch...)
			packed, err := codec.pack(plain)
			if err != nil {
				t.Fatal(err)
			}
			m, _, payload := annotated(t, entry(meta(
				number(metaCompression, uint64(codec)), number(metaUncompressed, uint64(len(plain))), number(metaCount, uint64(len(c.batch))),
			), packed, true))
			if !bytes.Equal(payload, plain) || m.compression != 0 || codec != None && m.uncompressed != 0 {
				t.Errorf("%s, codec %d: the batch is not what the library expects: %+v", name, codec, m)
			}
			for i, want := range c.want {
				head, _, rest, _ := cutSingle(payload)
				payload = rest
				if got, producer, ok := noteOf(string(m.producer), i, keyIn(head, singleKey)); !ok || got != want || producer != "orders" {
					t.Errorf("%s, codec %d, message %d: %+v, %q, %t; want %+v", name, codec, i, got, producer, ok, want)
				}
			}
		}
	}
}

// A frame that the library must find damaged stays so.
func TestAnnotateLeavesDamagedFramesAlone(t *testing.T) {
	whole := entry(meta(text(metaKey, "a")), []byte("value"), true)
	for i := range whole {
		if _, _, ok := new(Annotator).Annotate(whole[:i]); ok {
			t.Errorf("a frame cut at %d has notes", i)
		}
		broken := bytes.Clone(whole)
		broken[i] ^= 0x40
		if head, tail, ok := new(Annotator).Annotate(broken); ok && i >= 10 { // the broker's part has no checksum
			t.Errorf("a frame with a wrong byte %d has notes: %q %q", i, head, tail)
		}
	}
	for name, frame := range map[string][]byte{
		"batch without messages": entry(meta(number(metaCount, 2)), nil, false),
		"batch that is cut":      entry(meta(number(metaCount, 2)), message("k", "v"), false),
		"negative count":         entry(meta(number(metaCount, 1<<64-1)), message("k", "v"), false),
		"count beyond memory":    entry(meta(number(metaCount, 1<<31-1)), message("k", "v"), false),
		"not compressed":         entry(meta(number(metaCount, 1), number(metaCompression, 3), number(metaUncompressed, 9)), []byte("x"), false),
		"unknown codec":          entry(meta(number(metaCount, 1), number(metaCompression, 9), number(metaUncompressed, 9)), []byte("x"), false),
		"malformed metadata":     entry([]byte{0xff, 0xff}, nil, false),
	} {
		if _, _, ok := new(Annotator).Annotate(frame); ok {
			t.Errorf("%s has notes", name)
		}
	}
}

func TestAnnotateAndPatchTakeAnyBytes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5_000 {
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = byte(r.IntN(40))
		}
		_, _, _ = new(Annotator).Annotate(entry(meta(b), b, r.IntN(2) == 0))
		_, _, _ = new(Annotator).Annotate(entry(meta(number(metaCount, uint64(r.IntN(4)))), b, false))
		_, _ = Patch(b, Codec(r.IntN(6)))
		_, _, _ = noteOf(mark+string(b), r.IntN(5)-1, "")
		_, _, _ = noteOf("\x00\xf8"+string(b), r.IntN(5)-1, "")
	}
}

func TestReadReportsANameWithoutNotes(t *testing.T) {
	for _, name := range []string{"", "orders", mark, mark + "u", mark + "t\x00\x00\x00\x02"} {
		if _, producer, ok := noteOf(name, 0, ""); ok || producer != name {
			t.Errorf("%q has notes", name)
		}
	}
}
