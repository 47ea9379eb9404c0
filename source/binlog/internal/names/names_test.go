package names_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

func TestJoinMarksDotsAndBackslashesOfTheDatabase(t *testing.T) {
	for want, c := range map[string][2]string{
		"shop.orders":  {"shop", "orders"},
		"shop.a.b":     {"shop", "a.b"},
		`a\.b.c`:       {"a.b", "c"},
		`a\\.b.c`:      {`a\`, "b.c"},
		`a\\\.b.c\d.e`: {`a\.b`, `c\d.e`},
		"shop.*":       {"shop", "*"},
	} {
		if got := names.Join(c[0], c[1]); got != want {
			t.Errorf("Join(%q, %q) = %q, want %q", c[0], c[1], got, want)
		}
	}
}

func TestCutTakesApartWhatJoinReturnsAndNothingElse(t *testing.T) {
	name := rapid.StringOfN(rapid.RuneFrom([]rune(`ab.\*ü`)), 1, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		database, table := name.Draw(t, "database"), name.Draw(t, "table")
		full := names.Join(database, table)
		if d, n, ok := names.Cut(full); !ok || d != database || n != table {
			t.Fatalf("Cut(%q) = %q, %q, %v, want %q, %q", full, d, n, ok, database, table)
		}
		if got := string(names.Append([]byte("x"), []byte(database), []byte(table))); got != "x"+full {
			t.Fatalf("Append = %q, want x%s", got, full)
		}
	})
	for _, text := range []string{"", ".", "a", "a.", ".b", `a\.b`, `a\b.c`, `a\`} {
		if d, n, ok := names.Cut(text); ok {
			t.Errorf("Cut(%q) = %q, %q, want a refusal", text, d, n)
		}
	}
}
