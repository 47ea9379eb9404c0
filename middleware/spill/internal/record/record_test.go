package record_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

func messages() []keystrand.Message {
	return []keystrand.Message{
		{},
		{Offset: math.MaxInt64, Time: time.Unix(math.MaxInt32*4, 999_999_999).UTC(), Fetched: time.Unix(-1, 1).UTC()},
		{Offset: -1, Key: []byte{}, Value: []byte{}},
		{
			Key: []byte("k\x00"), Value: bytes.Repeat([]byte{0xff}, 300), Time: time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC),
			Headers: []keystrand.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Value: []byte{}}, {Key: "\xff\x00"}},
		},
	}
}

func TestRecordKeepsTheMessage(t *testing.T) {
	for _, m := range messages() {
		b := record.Append([]byte("before"), &m)[len("before"):]
		got, err := record.Decode(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("Decode = %+v, %v; want %+v", got, err, m)
		}
		if n, err := record.Size(b); err != nil || n != int64(m.Size()) {
			t.Errorf("Size = %d, %v; want %d", n, err, m.Size())
		}
	}
}

// A record with a damaged byte must not come back as another message: its handler would have a wrong effect.
func TestDamagedBytesAreAnError(t *testing.T) {
	s := record.Begin("key", "log", time.Unix(1, 2))
	forms := [][]byte{record.Append(nil, &messages()[3]), s.Append(nil)}
	for i, form := range forms {
		decode := func(b []byte) error {
			if i == 0 {
				_, err := record.Decode(b)
				return err
			}
			_, err := record.DecodeStrand(b)
			return err
		}
		for at := range form {
			if err := decode(form[:at]); !errors.Is(err, record.ErrCorrupt) {
				t.Fatalf("form %d cut at %d: %v, want %v", i, at, err, record.ErrCorrupt)
			}
			b := bytes.Clone(form)
			b[at] ^= 0x10
			if err := decode(b); !errors.Is(err, record.ErrCorrupt) && !errors.Is(err, record.ErrNewer) {
				t.Fatalf("form %d with a damaged byte %d: %v, want an error", i, at, err)
			}
		}
		b := bytes.Clone(form)
		b[0]++
		if err := decode(b); !errors.Is(err, record.ErrNewer) {
			t.Errorf("form %d of the next version: %v, want %v", i, err, record.ErrNewer)
		}
	}
}

func TestStrandKeepsItsFields(t *testing.T) {
	want := record.Strand{Strand: spill.Strand{
		Log: "log\x00",
		Key: "\x00\xff", From: 3, High: math.MaxInt64, Mark: -1, Held: true, Reason: "why", Records: 7, Bytes: 1 << 40, Since: time.Unix(5, 6).UTC(),
	}}
	if got, err := record.DecodeStrand(want.Append(nil)); err != nil || got != want {
		t.Errorf("DecodeStrand = %+v, %v; want %+v", got, err, want)
	}
}

// Encoded keys sort by partition, key and offset. No encoded key of a strand begins with the one of another strand.
func TestKeysKeepTheOrder(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	keys := []string{"", "\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "ab", "\xff", "\xff\xff"}
	for range 200 {
		b := make([]byte, rnd.IntN(6))
		for i := range b {
			b[i] = []byte{0, 1, 'a', 0xfe, 0xff}[rnd.IntN(5)]
		}
		keys = append(keys, string(b))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var last []byte
	for _, partition := range []uint32{0, 1, 255, 256, math.MaxUint32} {
		for _, key := range keys {
			strand := record.KeyOf(nil, partition, key)
			for _, offset := range []int64{-1, 0, 1, 255, 256, math.MaxInt64} {
				k := record.WithOffset(bytes.Clone(strand), offset)
				if bytes.Compare(last, k) >= 0 {
					t.Fatalf("seed %d: partition %d key %q offset %d is not above the one before", seed, partition, key, offset)
				}
				if got, ok := record.OffsetOf(strand, k); !ok || got != offset {
					t.Fatalf("seed %d: OffsetOf = %d, %v; want %d", seed, got, ok, offset)
				}
				if last != nil && bytes.HasPrefix(last, strand) != (offset != -1) {
					t.Fatalf("seed %d: strands of partition %d share keys at %q", seed, partition, key)
				}
				last = k
			}
		}
	}
}

func TestLongKeysHaveShortKeysOfTheirOwn(t *testing.T) {
	seen := make(map[string]int)
	for n := record.MaxKey - 2; n < record.MaxKey+3; n++ {
		for _, c := range []string{"\x00", "a"} {
			k := record.KeyOf(nil, 1, strings.Repeat(c, n))
			if len(k) > 2*record.MaxKey+8 {
				t.Errorf("a key of %d bytes becomes one of %d", n, len(k))
			}
			seen[string(k)]++
		}
	}
	if len(seen) != 10 {
		t.Errorf("10 keys became %d", len(seen))
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(record.Append(nil, &m))
	}
	s := record.Begin("key", "log", time.Unix(1, 2))
	f.Add(s.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = record.WithSum(b) // a checksum that fits lets the fuzzer reach what is behind it
		if m, err := record.Decode(b); err == nil {
			again, err := record.Decode(record.Append(nil, &m))
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("encoded again: %+v, %v; want %+v", again, err, m)
			}
		}
		if s, err := record.DecodeStrand(b); err == nil {
			if again, err := record.DecodeStrand(s.Append(nil)); err != nil || again != s {
				t.Errorf("encoded again: %+v, %v; want %+v", again, err, s)
			}
		}
		_, _ = record.Size(b)
	})
}
