package commit

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
)

// sign adds a prefix and its right checksum to any bytes.
func sign(prefix string, body []byte) string {
	data := append([]byte(prefix), body...)
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	return prefix + base64.RawURLEncoding.EncodeToString(data[len(prefix):])
}

// body returns a body with frontier 10, epoch 1 and no log.
func body(chunks ...byte) []byte { return append([]byte{20, 2, 0}, chunks...) }

// Bodies with a right checksum and inconsistent content.
func nonsense() map[string][]byte {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	return map[string][]byte{
		"nothing":                     {},
		"no log":                      {20, 2},
		"log beyond the end":          {20, 2, 9, 'x'},
		"log of 2^64 bytes":           append([]byte{20, 2}, huge...),
		"number without end":          {20, 2, 0, 0x80, 0x80},
		"number of 11 bytes":          body(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"no runs":                     body(0),
		"no bits":                     body(1),
		"a billion runs":              append(body(), binary.AppendUvarint(nil, 1_000_000_000<<1)...),
		"a billion bits":              append(body(), binary.AppendUvarint(nil, 1_000_000_000<<1|1)...),
		"2^63 runs":                   append(body(), binary.AppendUvarint(nil, math.MaxUint64-1)...),
		"2^63 bits":                   append(body(), huge...),
		"two runs, bytes for one":     body(2<<1, 1, 1),
		"empty run":                   body(1<<1, 1, 0),
		"touching runs":               body(2<<1, 1, 1, 0, 1),
		"run beyond all offsets":      append(body(1<<1, 1), huge...),
		"gap beyond all offsets":      append(append(body(1<<1), huge...), 1),
		"bitmap with bits behind":     body(3<<1|1, 0b1111),
		"bitmap without last bit":     body(3<<1|1, 0b0011),
		"bitmap that touches":         body(1<<1, 1, 1, 1<<1|1, 1),
		"bytes behind the last chunk": body(1<<1, 1, 1, 0),
	}
}

// placedBody returns a body with frontier 10, epoch 1, no log and a place.
func placedBody(place string, chunks ...byte) []byte {
	b := binary.AppendUvarint(body(), uint64(len(place)))
	return append(append(b, place...), chunks...)
}

// Bodies of version 2, likewise.
func misplaced() map[string][]byte {
	return map[string][]byte{
		"nothing":                       {},
		"no place":                      body(),
		"empty place":                   placedBody("", 1<<1, 1, 1),
		"place beyond the end":          body(9, 'x'),
		"place of 2^64 bytes":           binary.AppendUvarint(body(), math.MaxUint64),
		"place of a length without end": body(0x80, 0x80),
		"empty run":                     placedBody("p", 1<<1, 1, 0),
		"bytes behind the last chunk":   placedBody("p", 1<<1, 1, 1, 0),
	}
}

func TestDecodeRefusesInconsistentTextWithRightChecksum(t *testing.T) {
	chunks := []byte{1 << 1, 1, 1, 3<<1 | 1, 0b110}
	if p, err := Decode(sign(plain, body(chunks...))); err != nil || !reflect.DeepEqual(p.Ahead, []Range{{11, 12}, {13, 15}}) {
		t.Fatalf("Decode of a valid body = %v, %v", p, err)
	}
	if p, err := Decode(sign(placed, placedBody("p", chunks...))); err != nil || p.At != "p" || !reflect.DeepEqual(p.Ahead, []Range{{11, 12}, {13, 15}}) {
		t.Fatalf("Decode of a valid body with a place = %v, %v", p, err)
	}
	for prefix, bodies := range map[string]map[string][]byte{plain: nonsense(), placed: misplaced()} {
		for name, b := range bodies {
			t.Run(prefix+" "+name, func(t *testing.T) {
				if p, err := Decode(sign(prefix, b)); p != nil || !errors.Is(err, ErrCorrupt) {
					t.Errorf("Decode = %v, %v, want ErrCorrupt", p, err)
				}
			})
		}
	}
}

// Decodes any text, and any body with a right checksum, which a fuzzer would not find by itself.
func FuzzDecodeNeverPanics(f *testing.F) {
	for _, bodies := range []map[string][]byte{nonsense(), misplaced()} {
		for _, b := range bodies {
			f.Add(string(b))
		}
	}
	p := Progress{Log: "log", Epoch: 2, Frontier: 7, Ahead: []Range{{9, 10}, {11, 12}, {13, 1000}}}
	good, _ := Encode(&p, 0)
	p.At = "mysql-bin.000007:4"
	better, _ := Encode(&p, 0)
	for _, s := range []string{"", "ks:", "ks:2:", "ks:3:", "ks:1:AAAA", "ks:2:AAAA", good, good[:len(good)-1], better, better[:len(better)-1], "\xff\xfd", "consumer-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, text := range []string{s, sign(plain, []byte(s)), sign(placed, []byte(s))} {
			p, err := Decode(text)
			if err != nil {
				if p != nil || !(errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt)) {
					t.Fatalf("Decode(%q) = %v, %v", text, p, err)
				}
				continue
			}
			if !wellFormed(p.Frontier, p.Ahead) {
				t.Fatalf("Decode(%q) = %v: its ranges are not well formed", text, p)
			}
			if len(p.Ahead)*16 > 48*len(text)+64 {
				t.Fatalf("%d bytes of text became %d ranges", len(text), len(p.Ahead))
			}
			again, stored := Encode(p, 0)
			if back, err := Decode(again); err != nil || stored.Replays != 0 || !reflect.DeepEqual(back, p) {
				t.Fatalf("Decode(Encode(%v)) = %v, %v", p, back, err)
			}
			if again[:len(plain)] != text[:len(plain)] {
				t.Fatalf("Encode(Decode(%q)) = %q, of another version", text, again)
			}
		}
	})
}

// Encode keeps the place whole and a prefix of the ranges, Stored counts the rest, and the text is within the limit.
func FuzzEncodeDecodeRoundTrip(f *testing.F) {
	f.Add("orders#1", "", int64(1000), int64(7), 4096, []byte{1, 0, 1, 0, 1, 255, 3, 3, 3, 3})
	f.Add("", "", int64(0), int64(0), 0, []byte{0, 0})
	f.Add("\xff\x00", "\x00\xff\n", int64(-9), int64(-1), 40, []byte{250, 250, 251, 255, 9, 9})
	f.Add("log", "0-1-270", int64(math.MaxInt64), int64(math.MaxInt64), 60, []byte{1, 1})
	f.Add("a log with a very long name indeed", "", int64(5), int64(1), 30, []byte{1, 1, 1, 1})
	f.Add("log", "a place with a very long name indeed", int64(5), int64(1), 40, []byte{1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, log, place string, frontier, epoch int64, limit int, pairs []byte) {
		p := &Progress{Log: log, Epoch: epoch, Frontier: frontier, Ahead: grown(frontier, pairs), At: place}
		text, stored := Encode(p, limit)
		if limit > 0 && len(text) > limit {
			t.Fatalf("%d bytes, limit %d", len(text), limit)
		}
		for i := range len(text) {
			if text[i] <= ' ' || text[i] > '~' {
				t.Fatalf("byte %d of %q is not printable ASCII", i, text)
			}
		}
		if stored.Frontier != frontier {
			t.Fatalf("stored frontier %d, want %d", stored.Frontier, frontier)
		}
		if text == "" {
			if limit <= 0 || stored.Replays != covered(p.Ahead) {
				t.Fatalf("no text at limit %d: replays %d, want %d", limit, stored.Replays, covered(p.Ahead))
			}
			return
		}
		got, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		kept := len(got.Ahead)
		if version := text[:len(plain)]; (version == plain) != (place == "") || (version == placed) != (place != "") {
			t.Fatalf("the place %q is in a text %q", place, version)
		}
		if got.At != place || got.Log != log || got.Epoch != epoch || got.Frontier != frontier || kept > len(p.Ahead) ||
			(kept > 0 && !reflect.DeepEqual(got.Ahead, p.Ahead[:kept])) {
			t.Fatalf("%v became %v", p, got)
		}
		if want := covered(p.Ahead[kept:]); stored.Replays != want {
			t.Fatalf("Replays = %d, but a crash would redeliver %d", stored.Replays, want)
		}
	})
}

// grown makes ranges from (gap, length) bytes; bytes above 240 are powers of two.
func grown(frontier int64, pairs []byte) []Range {
	size := func(b byte) uint64 {
		if b > 240 {
			return 1 << ((b - 240) * 4)
		}
		return uint64(b)
	}
	var out []Range
	at := frontier
	for i := 0; i+1 < len(pairs); i += 2 {
		gap, length := size(pairs[i]), size(pairs[i+1])+1
		if i > 0 {
			gap++
		}
		left := uint64(math.MaxInt64) - uint64(at)
		if gap > left || length > left-gap {
			break
		}
		from := int64(uint64(at) + gap)
		at = int64(uint64(from) + length)
		out = append(out, Range{from, at})
	}
	return out
}
