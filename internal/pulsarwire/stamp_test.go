package pulsarwire

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// from is metadata of a producer with this name.
func from(producer string, sequence uint64, fields ...[]byte) []byte {
	b := appendVarint(appendVarint(appendBytes(nil, metaProducer, producer), metaSequence, sequence), 3, 1)
	return append(b, slices.Concat(fields...)...)
}

func TestNoteFitsInThePlaceOfTheProducersName(t *testing.T) {
	for _, c := range []struct {
		name     string
		sequence uint64
		stamped  bool
	}{
		{"", 0, false},
		{"orders", 0, false},
		{"orders-1", 0, false},
		{"orders-10", 255, true},
		{"orders-10", 256, false},
		{"standalone-0-0", 1<<48 - 1, true},
		{"standalone-0-0", 1 << 48, false},
		{"standalone-0-1000", 1<<64 - 1, true},
		{"\x00\xf8\x00\x00 is not a stamp", 7, true},
		{mark + "ut", 7, true},
		{strings.Repeat("x", maxName), 7, true},
		{strings.Repeat("x", maxName+1), 7, false},
	} {
		for _, kind := range []KeyKind{KeyNone, KeyText, KeyBytes, KeyNull} {
			key := map[KeyKind][]byte{
				KeyText: text(metaKey, ""), KeyBytes: append(text(metaKey, "YQ=="), number(metaBase64, 1)...), KeyNull: number(metaNullKey, 1),
			}[kind]
			frame := entry(from(c.name, c.sequence, key), []byte("value"), true)
			before := bytes.Clone(frame)
			head, tail, ok := new(Annotator).Annotate(frame)
			if !ok || (head == nil) != c.stamped {
				t.Fatalf("%q, %d: %t, in place %t; want %t", c.name, c.sequence, ok, head == nil, c.stamped)
			}
			if c.stamped {
				at := bytes.Index(before, []byte(c.name))
				if !bytes.Equal(frame[:at], before[:at]) || !bytes.Equal(frame[at+len(c.name):], before[at+len(c.name):]) {
					t.Errorf("%q: more than the name has changed", c.name)
				}
			} else {
				frame = slices.Concat(head, tail)
			}
			e, ok := split(frame)
			m, _ := parseMetadata(e.meta)
			if !ok || !e.sound() || string(e.payload) != "value" || m.sequence != c.sequence {
				t.Errorf("%q: the library would find the frame damaged", c.name)
			}
			want := Note{Kind: kind, Sequence: int64(c.sequence)}
			if n, producer, ok := noteOf(string(m.producer), 0, ""); !ok || n != want || producer != c.name {
				t.Errorf("%q: %+v, %q, %t; want %+v", c.name, n, producer, ok, want)
			}
		}
	}
}

// The table of names is full, or the name was never seen here.
func TestStampNeedsANumberOfTheName(t *testing.T) {
	var n names
	for i := range maxNames {
		if number, ok := n.number(fmt.Append(nil, "producer-", i)); !ok || int(number) != i {
			t.Fatalf("name %d has number %d, %t", i, number, ok)
		}
	}
	if _, ok := n.number([]byte("producer-x")); ok {
		t.Error("one name too many has a number")
	}
	if number, ok := n.number([]byte("producer-7")); !ok || number != 7 {
		t.Errorf("number %d, %t", number, ok)
	}
	if _, _, ok := noteOf("\x00\xf8\xff\xff0123456789", 0, ""); ok {
		t.Error("a stamp with an unknown number has notes")
	}
}

// Uniform batches are left where they are, others get a table.
func TestBatchIsOnlyCopiedIfItsMessagesDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		batch  [][]byte
		inside bool
	}{
		"text":            {[][]byte{message("a", "1"), message("b", "2")}, false}, // message has sequence id 7 always
		"one":             {[][]byte{message("a", "1")}, true},
		"text and none":   {[][]byte{unnumbered("a", "1"), unnumbered("", "2")}, true},
		"text and null":   {[][]byte{unnumbered("a", "1"), unnumbered("", "")}, false},
		"text and base64": {[][]byte{unnumbered("a", "1"), unnumbered("YQ==", "1", number(singleBase64, 1))}, false},
		"base64":          {[][]byte{unnumbered("YQ==", "1", number(singleBase64, 1)), unnumbered("YQ==", "1", number(singleBase64, 1))}, true},
	} {
		for codec := None; codec <= Snappy; codec++ {
			plain := slices.Concat(c.batch...)
			packed, err := codec.pack(plain)
			if err != nil {
				t.Fatal(err)
			}
			frame := entry(from("standalone-0-0", 41,
				number(metaCompression, uint64(codec)), number(metaUncompressed, uint64(len(plain))), number(metaCount, uint64(len(c.batch)))), packed, false)
			head, _, ok := new(Annotator).Annotate(frame)
			if want := c.inside && codec == None; !ok || (head == nil) != want {
				t.Errorf("%s, codec %d: %t, in place %t; want %t", name, codec, ok, head == nil, want)
			}
		}
	}
}

// unnumbered is a message of a batch without a sequence id of its own.
func unnumbered(key, value string, fields ...[]byte) []byte {
	head := slices.Concat(fields...)
	if key != "" {
		head = appendBytes(head, singleKey, key)
	}
	head = appendVarint(head, singleSize, uint64(len(value)))
	return append(append([]byte{0, 0, 0, byte(len(head))}, head...), value...)
}

// A frame that the library must find damaged stays so, and no frame is damaged.
func TestNoFrameBecomesWholeOrDamaged(t *testing.T) {
	key := append(text(metaKey, "YQ=="), number(metaBase64, 1)...)
	for _, whole := range [][]byte{
		entry(from("standalone-0-0", 41, key), []byte("value"), true),
		entry(from("standalone-0-0", 41, number(metaCount, 2)), slices.Concat(unnumbered("a", "1"), unnumbered("a", "2")), false),
		entry(from("orders", 41, number(metaCount, 2)), slices.Concat(unnumbered("a", "1"), message("a", "2")), false),
	} {
		var a Annotator
		for i := range whole {
			for bit := range 8 {
				frame := bytes.Clone(whole)
				frame[i] ^= 1 << bit
				checkSound(t, &a, frame)
			}
			if head, _, ok := a.Annotate(bytes.Clone(whole[:i])); ok && head != nil {
				t.Errorf("a frame that was cut at %d is written again", i)
			}
		}
	}
}

// checkSound checks that a frame is as whole or damaged as before when it has notes.
func checkSound(t *testing.T, a *Annotator, frame []byte) {
	t.Helper()
	before, ok := split(frame)
	sound := ok && before.sound()
	head, tail, noted := a.Annotate(frame)
	if head != nil {
		frame = slices.Concat(head, tail)
	}
	after, ok := split(frame)
	if now := ok && after.sound(); now != sound {
		t.Errorf("%x: whole %t, was %t", frame, now, sound)
	}
	if noted && sound {
		if m, ok := parseMetadata(after.meta); !ok {
			t.Errorf("%x: malformed", frame)
		} else if _, ok := NotesOf(string(m.producer)); !ok {
			t.Errorf("%x: no notes", frame)
		}
	}
}

func TestBridgeLeadsToAnyChecksum(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		from, to := r.Uint32(), r.Uint32()
		x := bridge(^from, ^to)
		if got := crc32.Update(from, castagnoli, []byte{byte(x), byte(x >> 8), byte(x >> 16), byte(x >> 24)}); got != to {
			t.Fatalf("from %x to %x, want %x", from, got, to)
		}
	}
}

// FuzzAnnotate takes a frame as it is, and one whose checksum is made right.
func FuzzAnnotate(f *testing.F) {
	both := slices.Concat(unnumbered("a", "1"), message("a", "2"))
	f.Add(entry(from("standalone-0-0", 41, text(metaKey, "a")), []byte("value"), true))
	f.Add(entry(from("orders", 41), nil, false))
	for codec := None; codec <= Snappy; codec++ {
		packed, err := codec.pack(both)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry(from("standalone-0-0", 41,
			number(metaCompression, uint64(codec)), number(metaUncompressed, uint64(len(both))), number(metaCount, 2)), packed, true))
	}
	f.Add(entry(from("standalone-0-0", 41, text(metaEncryption, "k"), number(metaCount, 2)), []byte("0123456789abcdef"), true))
	f.Add(entry(from("standalone-0-0", 41, number(metaChunks, 3)), []byte("0123456789abcdef"), true))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var a Annotator
		checkSound(t, &a, bytes.Clone(frame))
		if e, ok := split(frame); ok {
			frame = entry(bytes.Clone(e.meta), e.payload, len(e.broker) > 0)
			checkSound(t, &a, frame)
		}
		_, _ = Patch(bytes.Clone(frame), Codec(len(frame)%6))
		_, _, _ = noteOf(string(frame), len(frame)%5-1, "")
	})
}

func TestAnnotateAllocatesNothingForUniformEntries(t *testing.T) {
	batch := slices.Concat(unnumbered("a", "1"), unnumbered("", "2"), unnumbered("b", "3"))
	for name, whole := range map[string][]byte{
		"message":    entry(from("standalone-0-0", 41, text(metaKey, "a")), []byte("value"), true),
		"batch":      entry(from("standalone-0-0", 41, number(metaCount, 3)), batch, true),
		"short name": entry(from("orders", 41, number(metaCount, 3)), batch, true),
	} {
		var a Annotator
		frame := make([]byte, len(whole))
		if n := testing.AllocsPerRun(100, func() {
			copy(frame, whole)
			if _, _, ok := a.Annotate(frame); !ok {
				t.Fatal("no notes")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
