package commit_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// kafkaLimit is the default limit of a Kafka broker for the metadata of a commit: offset.metadata.max.bytes.
const kafkaLimit = 4096

// pattern returns a progress of n offsets behind the frontier. settled reports which offsets are settled.
func pattern(n int64, settled func(offset int64) bool) *commit.Progress {
	p := &commit.Progress{Log: "orders#1", Epoch: 3, Frontier: 1 << 40}
	for o := int64(1); o < n; o++ {
		if !settled(o) {
			continue
		}
		at := p.Frontier + o
		if k := len(p.Ahead); k > 0 && p.Ahead[k-1].To == at {
			p.Ahead[k-1].To++
			continue
		}
		p.Ahead = append(p.Ahead, commit.Range{From: at, To: at + 1})
	}
	return p
}

type shape struct {
	name    string
	settled func(int64) bool
	reaches int64 // offsets that 4096 bytes must reach
}

func shapes() []shape {
	random := func(percent int) func(int64) bool {
		r := rand.New(rand.NewPCG(7, 7))
		return func(int64) bool { return r.IntN(100) < percent }
	}
	return []shape{
		{"one stuck", func(int64) bool { return true }, 1_000_000},
		{"every 2nd settled", func(o int64) bool { return o%2 == 0 }, 24_000},
		{"every 10th settled", func(o int64) bool { return o%10 == 0 }, 24_000},
		{"every 10th stuck", func(o int64) bool { return o%10 != 0 }, 24_000},
		{"every 100th stuck", func(o int64) bool { return o%100 != 0 }, 130_000},
		{"random 50% settled", random(50), 24_000},
		{"random 90% settled", random(90), 24_000},
		{"random 99% settled", random(99), 110_000},
	}
}

// sumOf returns the number of offsets in the ranges.
func sumOf(rs []commit.Range) (n int64) {
	for _, r := range rs {
		n += r.To - r.From
	}
	return n
}

// checkText checks text and stored against the promises of Encode for p and limit, and returns the decoded progress.
func checkText(t *testing.T, p *commit.Progress, limit int, text string, stored commit.Stored) *commit.Progress {
	t.Helper()
	if limit > 0 && len(text) > limit {
		t.Fatalf("%d bytes, limit %d", len(text), limit)
	}
	for i := range len(text) { // a broker returns other bytes as U+FFFD
		if text[i] <= ' ' || text[i] > '~' {
			t.Fatalf("byte %d of %q is not printable ASCII", i, text)
		}
	}
	if stored.Frontier != p.Frontier {
		t.Fatalf("stored frontier %d, want %d", stored.Frontier, p.Frontier)
	}
	if text == "" {
		if want := sumOf(p.Ahead); limit <= 0 || stored.Replays != want {
			t.Fatalf("no text at limit %d: replays %d, want %d", limit, stored.Replays, want)
		}
		return nil
	}
	got, err := commit.Decode(text)
	if err != nil {
		t.Fatalf("decode %q: %v", text, err)
	}
	if got.Log != p.Log || got.Epoch != p.Epoch || got.Frontier != p.Frontier || got.At != p.At {
		t.Fatalf("head %v, want %v", got, p)
	}
	if n := len(got.Ahead); n > len(p.Ahead) || !slices.Equal(got.Ahead, p.Ahead[:n]) {
		t.Fatalf("kept %v, which are not the ranges nearest to the frontier of %v", got.Ahead, p.Ahead)
	}
	if want := sumOf(p.Ahead[len(got.Ahead):]); stored.Replays != want {
		t.Fatalf("Replays = %d, but a crash would redeliver %d", stored.Replays, want)
	}
	return got
}

func TestEncodeKeepsEverythingWithoutLimit(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			p := pattern(50_000, s.settled)
			text, stored := commit.Encode(p, 0)
			if checkText(t, p, 0, text, stored); stored.Replays != 0 {
				t.Errorf("replays %d", stored.Replays)
			}
			t.Logf("50,000 offsets in %d bytes", len(text))
		})
	}
}

// One commit reaches far, and Stored counts what it cannot keep.
func TestEncodeKeepsNearestRangesWithinLimit(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			p := pattern(1_000_001, s.settled)
			text, stored := commit.Encode(p, kafkaLimit)
			got := checkText(t, p, kafkaLimit, text, stored)
			reached := got.Ahead[len(got.Ahead)-1].To - p.Frontier
			t.Logf("%d bytes reach %d offsets; %d would be redelivered", len(text), reached, stored.Replays)
			if reached < s.reaches {
				t.Errorf("reaches %d offsets, want at least %d", reached, s.reaches)
			}
		})
	}
}

// Tries every limit, from too small for the head to more than enough.
func TestEncodeNeverExceedsLimit(t *testing.T) {
	for _, s := range shapes() {
		for _, place := range []string{"", "mysql-bin.000007:4 0-1-270"} {
			p := pattern(2000, s.settled)
			p.At = place
			whole, _ := commit.Encode(p, 0)
			kept := 0
			for limit := 1; limit <= len(whole)+8; limit++ {
				text, stored := commit.Encode(p, limit)
				if got := checkText(t, p, limit, text, stored); got != nil {
					if len(got.Ahead) < kept {
						t.Fatalf("%s: limit %d keeps %d ranges, a lower limit kept %d", s.name, limit, len(got.Ahead), kept)
					}
					kept = len(got.Ahead)
				}
			}
			if _, stored := commit.Encode(p, len(whole)+8); stored.Replays != 0 {
				t.Errorf("%s: Replays = %d with room for all, want 0", s.name, stored.Replays)
			}
		}
	}
}

// A place takes the room of ranges, and a text without it is never made.
func TestEncodeKeepsThePlaceBeforeAnyRange(t *testing.T) {
	p := &commit.Progress{Log: "shop", Epoch: 7, Frontier: 1000, Ahead: []commit.Range{{From: 1001, To: 250_000}}, At: strings.Repeat("0-1-270,", 10)}
	head, _ := commit.Encode(&commit.Progress{Log: p.Log, Epoch: p.Epoch, Frontier: p.Frontier, At: p.At}, 0)
	text, stored := commit.Encode(p, len(head))
	if got, err := commit.Decode(text); err != nil || text != head || got.At != p.At || len(got.Ahead) > 0 || stored.Replays != 248_999 {
		t.Errorf("with room for the place alone: %q, %+v, %v, %+v; want %q and 248,999 replays", text, got, err, stored, head)
	}
	text, stored = commit.Encode(p, len(head)-1)
	if text != "" || stored != (commit.Stored{Frontier: 1000, Replays: 248_999}) {
		t.Errorf("without room for the place: %q, %+v, want no text and 248,999 replays", text, stored)
	}
}

// Texts that earlier releases have stored are read, and what they could store is stored as they did.
func TestTextWithoutAPlaceIsThatOfEarlierReleases(t *testing.T) {
	const old = "ks:1:0A8OCG9yZGVycyMxAgGnmQ8Gh1cM"
	p := &commit.Progress{Log: "orders#1", Epoch: 7, Frontier: 1000, Ahead: []commit.Range{{From: 1001, To: 250_000}}}
	if text, _ := commit.Encode(p, 0); text != old {
		t.Errorf("text = %q, want %q", text, old)
	}
	if got, err := commit.Decode(old); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("Decode(%q) = %+v, %v, want %+v", old, got, err, p)
	}
}

func TestEncodeAcceptsExtremeValues(t *testing.T) {
	for _, p := range []*commit.Progress{
		{},
		{Frontier: math.MaxInt64, Epoch: math.MaxInt64},
		{Frontier: math.MinInt64, Epoch: math.MinInt64, Log: "\x00\xff\n"},
		{Frontier: math.MaxInt64, At: "\x00\xff\n"},
		{Frontier: 1, At: strings.Repeat("place", 100_000)},
		{Frontier: math.MinInt64, Ahead: []commit.Range{{From: math.MinInt64 + 1, To: math.MaxInt64}}},
		{Frontier: 5, Ahead: []commit.Range{{From: 5, To: 6}, {From: 7, To: 1 << 50}, {From: math.MaxInt64 - 1, To: math.MaxInt64}}},
	} {
		text, _ := commit.Encode(p, 0)
		got, err := commit.Decode(text)
		if err != nil || got.Frontier != p.Frontier || got.Epoch != p.Epoch || got.Log != p.Log || got.At != p.At || !slices.Equal(got.Ahead, p.Ahead) {
			t.Errorf("Decode(Encode(%v)) = %v, %v", p, got, err)
		}
	}
	huge := &commit.Progress{Frontier: math.MinInt64, Ahead: []commit.Range{{From: math.MinInt64, To: math.MaxInt64}}}
	if _, stored := commit.Encode(huge, 1); stored.Replays != math.MaxInt64 {
		t.Errorf("Replays = %d, want MaxInt64", stored.Replays)
	}
}

// Encode sorts ranges that are out of order.
func TestEncodeSortsRanges(t *testing.T) {
	p := &commit.Progress{Frontier: 10, Ahead: []commit.Range{{From: 30, To: 31}, {From: 4, To: 12}, {From: 12, To: 14}, {From: 20, To: 20}}}
	text, _ := commit.Encode(p, 0)
	got, err := commit.Decode(text)
	if err != nil || !slices.Equal(got.Ahead, []commit.Range{{From: 10, To: 14}, {From: 30, To: 31}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDecodeDistinguishesForeignNewerAndDamagedText(t *testing.T) {
	p := pattern(500, func(o int64) bool { return o%3 != 0 })
	text, _ := commit.Encode(p, 0)
	p.At = "mysql-bin.000007:4"
	withPlace, _ := commit.Encode(p, 0)
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"empty", "", commit.ErrForeign},
		{"client id", "consumer-1@10.0.0.7", commit.ErrForeign},
		{"json", `{"offset":12}`, commit.ErrForeign},
		{"not UTF-8", "\xff\xfe\x00", commit.ErrForeign},
		{"magic cut off", "ks", commit.ErrForeign},
		{"version cut off", "ks:", commit.ErrCorrupt},
		{"version cut in the middle", "ks:1", commit.ErrCorrupt},
		{"no number", "ks:x:AAAA", commit.ErrCorrupt},
		{"zero", "ks:0:AAAA", commit.ErrCorrupt},
		{"leading zero", "ks:01:AAAA", commit.ErrCorrupt},
		{"newer", "ks:3:!anything at all", commit.ErrVersion},
		{"newer by much", "ks:10:AAAA", commit.ErrVersion},
		{"much newer", "ks:" + strings.Repeat("9", 1000) + ":", commit.ErrVersion},
		{"nothing in it", "ks:1:", commit.ErrCorrupt},
		{"not base64", "ks:1:ä", commit.ErrCorrupt},
		{"line break", text[:20] + "\n" + text[20:], commit.ErrCorrupt},
		{"longer", text + "A", commit.ErrCorrupt},
		{"padded", text + "=", commit.ErrCorrupt},
		{"without its place", strings.Replace(withPlace, "ks:2:", "ks:1:", 1), commit.ErrCorrupt},
		{"with a place that it lacks", strings.Replace(text, "ks:1:", "ks:2:", 1), commit.ErrCorrupt},
		{"not base64, with a place", "ks:2:!anything at all", commit.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := commit.Decode(c.text); p != nil || !errors.Is(err, c.want) || len(err.Error()) > 300 {
				t.Errorf("Decode(%.40q) = %v, %v, want %v", c.text, p, err, c.want)
			}
		})
	}
	for _, text := range []string{text, withPlace} {
		for n := len("ks:1:"); n < len(text); n++ {
			if _, err := commit.Decode(text[:n]); !errors.Is(err, commit.ErrCorrupt) {
				t.Fatalf("Decode of %d of %d bytes = %v, want ErrCorrupt", n, len(text), err)
			}
		}
		for i := len("ks:1:"); i < len(text); i++ {
			for _, bit := range []byte{1, 2, 4, 32} {
				changed := []byte(text)
				changed[i] ^= bit
				if _, err := commit.Decode(string(changed)); !errors.Is(err, commit.ErrCorrupt) {
					t.Fatalf("Decode with byte %d changed to %q = %v, want ErrCorrupt", i, changed[i], err)
				}
			}
		}
	}
}
