package fold_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keystrand/keystrand/source/binlog/internal/fold"
)

// nameOf returns the name of a text, and "refused" if it has none.
func nameOf(c fold.Class, s string) string {
	name, ok := c.Append(nil, s)
	if !ok {
		return "refused"
	}
	return "=" + string(name)
}

func TestEqualTextsHaveOneName(t *testing.T) {
	for _, test := range []struct {
		collation string
		equal     []string
	}{
		{"utf8mb4_general_ci", []string{"Straße", "STRASE", "strase "}}, // ß = s
		{"utf8mb4_unicode_ci", []string{"Straße", "STRASSE", "strasse  "}},
		{"utf8mb4_unicode_ci", []string{"café", "CAFE", "cafe\u0301", "ｃａｆｅ"}},
		{"utf8mb4_general_ci", []string{"😀", "🎉"}}, // all emoji are equal in old collations
		{"utf8mb4_0900_ai_ci", []string{"Ærø", "aero"}},
		{"utf8mb4_uca1400_ai_ci", []string{"ガキ", "がき", "ｶﾞｷ", "カキ"}},
		{"utf8mb4_unicode_ci", []string{"１２", "12", "१२", "١٢"}},
		{"utf8mb4_german2_ci", []string{"Müller", "mueller"}},
		{"utf8mb4_danish_ci", []string{"Aarhus", "århus"}},
		{"utf8mb4_danish_ci", []string{"ü", "y"}},
		{"utf8mb4_swedish_ci", []string{"þ", "th"}},
		{"utf8mb4_uca1400_lithuanian_nopad_ai_ci", []string{"ch", "c"}},
		{"latin1_german2_ci", []string{"ä", "ae"}},
		{"utf8mb4_turkish_ci", []string{"I", "ı"}},
		{"utf8mb4_bin", []string{"a", "a  "}},
		{"utf8mb4_persian_ci", []string{"آ", "a"}}, // not known: all texts have one name
		{"klingon_ci", []string{"a", "b", ""}},
	} {
		t.Run(test.collation, func(t *testing.T) {
			c := fold.Of(test.collation)
			want := nameOf(c, test.equal[0])
			for _, s := range test.equal {
				if got := nameOf(c, s); got != want || got == "refused" {
					t.Errorf("%q is %s, and %q is %s", s, got, test.equal[0], want)
				}
			}
		})
	}
}

func TestDifferentTextsHaveDifferentNames(t *testing.T) {
	for _, test := range []struct {
		collation string
		texts     []string
	}{
		{"utf8mb4_general_ci", []string{"user1", "user2", "user11", "张三", "李四", "иван", "김철수", "さとう", "ann@example.com", "bob@example.com"}},
		{"latin1_swedish_ci", []string{"user1", "user2", "user11", "ann@example.com", "bob@example.com"}},
		{"utf8mb4_bin", []string{"a", "A", " a", "á", "a\x01", "-"}},
		{"binary", []string{"a", "a ", "A", ""}},
		{"", []string{"a", "a ", "A", ""}},
	} {
		t.Run(test.collation, func(t *testing.T) {
			seen := map[string]string{}
			for _, s := range test.texts {
				n := nameOf(fold.Of(test.collation), s)
				if other, ok := seen[n]; ok {
					t.Errorf("%q and %q have the name %s", s, other, n)
				}
				seen[n] = s
			}
		})
	}
}

func TestNamesAreTheSameInEveryRelease(t *testing.T) { // names are stored with diverted keys
	const text = "Ünïcode ß ŒUVRE Ωραία Ёлка がギｱﾞ 漢字 한글 ١٢३ 😀 end-of_text"
	for collation, want := range map[string]string{
		"utf8mb4_general_ci": "=unicodesoeuvreωραιαелкаカキア漢字한글123endoftext",
		"utf8mb4_danish_ci":  "=inicodsoirωραιαелкаカキア漢字한글123ndoftxt",
		"utf8mb4_bin":        "=" + text,
	} {
		if got := nameOf(fold.Of(collation), text+"  "); got != want {
			t.Errorf("%s: %s, want %s", collation, got, want)
		}
	}
}

func TestUnknownCharactersHaveNoName(t *testing.T) {
	for _, s := range []string{"❶", "ǆ", "d\u0369", "½", "𝐀", "\xff", "a\xe4", "ﬁ", "ᄀ", "Ⅷ", "\uf900"} {
		if got := nameOf(fold.Root, s); got != "refused" {
			t.Errorf("%q: %s", s, got)
		}
		if got := nameOf(fold.Trimmed, s); got != "="+s {
			t.Errorf("%q, binary: %s", s, got)
		}
	}
	if got := nameOf(fold.Tailored, "["); got != "refused" { // equals Å in latin1_swedish_ci
		t.Errorf("[: %s", got)
	}
	if got := nameOf(fold.Root, "["); got != "=" {
		t.Errorf("[: %s", got)
	}
}

// FuzzNames checks what holds whatever the collations are: a name ignores case, composition and spaces at the end, and its
// letters have it as their name.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "Straße ", "CAFÉ", "Ǻ", "がぎ", "İı", "😀x", "\xff", "ŉ", "ǰ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range []fold.Class{fold.Root, fold.Tailored} {
			name, ok := c.Append([]byte("x:"), s)
			if !strings.HasPrefix(string(name), "x:") {
				t.Fatalf("%q: %q lacks what was there", s, name)
			}
			if !ok {
				continue
			}
			name = name[2:]
			if !utf8.Valid(name) {
				t.Fatalf("%q: %q is not UTF-8", s, name)
			}
			for _, same := range []string{s + "  ", norm.NFC.String(s), norm.NFD.String(s), norm.NFKD.String(s), string(name)} {
				if got, ok := c.Append(nil, same); ok && string(got) != string(name) {
					t.Fatalf("%q has the name %q, but %q has %q", s, name, same, got)
				}
			}
		}
	})
}

func BenchmarkNames(b *testing.B) {
	for _, test := range []struct{ name, collation, text string }{
		{"ascii", "utf8mb4_general_ci", "ann.smith@example.com"},
		{"ascii tailored", "utf8mb4_danish_ci", "ann.smith@example.com"},
		{"latin", "utf8mb4_general_ci", "Françoise Müller-Ørsted"},
		{"han", "utf8mb4_general_ci", "北京市海淀区中关村大街"},
		{"binary", "utf8mb4_bin", "ann.smith@example.com"},
	} {
		b.Run(test.name, func(b *testing.B) {
			c := fold.Of(test.collation)
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = c.Append(dst[:0], test.text)
			}
		})
	}
}
