package keystrand_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keystrand/keystrand"
)

func TestLaneStringQuotesOnlyUnreadableNames(t *testing.T) {
	for name, want := range map[string]string{
		"post-7":        `post-7`,
		"eu/customer 7": `eu/customer 7`,
		"größe":         `größe`,
		`a"b\n`:         `a"b\n`,
		"'a'":           `'a'`,
		"\ufffd":        "\ufffd",
		"":              `""`,
		`"`:             `"\""`,
		`"alice"`:       `"\"alice\""`,
		" a":            `" a"`,
		"a ":            `"a "`,
		"a\nb":          `"a\nb"`,
		"a\x00":         `"a\x00"`,
		"\xff\xfe":      `"\xff\xfe"`,
		"a\u00a0b":      `"a\u00a0b"`,
	} {
		if got := keystrand.Lane(name).String(); got != want {
			t.Errorf("Lane(%q).String() = %s, want %s", name, got, want)
		}
	}
}

func TestParseLaneRejectsEmptyTextAndBrokenQuotes(t *testing.T) {
	for text, want := range map[string]string{
		"":     "empty",
		`"`:    "not a quoted Go string",
		`"a`:   "not a quoted Go string",
		`"a"b`: "not a quoted Go string",
		`"\q"`: "not a quoted Go string",
	} {
		if l, err := keystrand.ParseLane(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLane(%s) = %q, %v; want an error that contains %q", text, string(l), err, want)
		}
	}
}

// roundTrip checks that ParseLane inverts String, and that the text is one printable line.
func roundTrip(t *testing.T, name []byte) {
	t.Helper()
	text := keystrand.Lane(name).String()
	if got, err := keystrand.ParseLane(text); string(got) != string(name) || err != nil {
		t.Fatalf("lane %q has the text %s, and ParseLane returns %q, %v", name, text, string(got), err)
	}
	if strings.ContainsAny(text, "\n\r\x00") || text == "" || strings.ToValidUTF8(text, "") != text {
		t.Fatalf("lane %q has the text %q, want one printable line", name, text)
	}
}

func TestLaneRoundTripsThroughItsTextForAnyBytes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	alphabets := []string{`"\ 'an0x`, "\x00\x7f\x80\xc3\xa4\xff\xef\xbf\xbd \"\\", "\u2028\u00a0\ufeff\U0010ffffé\" "}
	for range 20_000 {
		name := make([]byte, r.IntN(12))
		from := alphabets[r.IntN(len(alphabets))]
		for i := range name {
			if name[i] = byte(r.IntN(256)); r.IntN(2) == 0 {
				name[i] = from[r.IntN(len(from))]
			}
		}
		roundTrip(t, name)
		roundTrip(t, []byte(keystrand.Lane(name).String())) // a name that is itself a text
	}
}

func FuzzLaneRoundTripsThroughItsText(f *testing.F) {
	for _, name := range []string{"", "post-7", `"alice"`, "\xff", " a", "a\nb", `\`, "\ufffd"} {
		f.Add([]byte(name))
	}
	f.Fuzz(roundTrip)
}
