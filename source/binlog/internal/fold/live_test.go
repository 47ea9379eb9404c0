package fold_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	"golang.org/x/text/unicode/norm"

	"github.com/keystrand/keystrand/source/binlog/internal/fold"
)

// TestLiveEqualTextsHaveOneName asks a server which texts are equal under each of its collations. Equal texts that have names
// must have the same one.
func TestLiveEqualTextsHaveOneName(t *testing.T) {
	dsn := os.Getenv("KEYSTRAND_MARIADB")
	if dsn == "" {
		t.Skip(`KEYSTRAND_MARIADB is not set: run tools/services/services up mariadb && eval "$(tools/services/services env)"`)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1) // temporary tables belong to the connection
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatalf("%.200s: %v", query, err)
		}
	}
	exec("SET NAMES utf8mb4, group_concat_max_len = 1 << 30, max_heap_table_size = 512 << 20, tmp_table_size = 512 << 20")
	texts := corpus()
	exec("CREATE TEMPORARY TABLE texts (id INT PRIMARY KEY, s VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)")
	for from := 0; from < len(texts); from += 1000 {
		part := texts[from:min(from+1000, len(texts))]
		args := make([]any, 0, 2*len(part))
		for i, s := range part {
			args = append(args, from+i, s)
		}
		exec("INSERT INTO texts VALUES "+strings.TrimSuffix(strings.Repeat("(?,?),", len(part)), ","), args...)
	}
	seed := rand.Uint64()
	t.Logf("%d texts, seed %d", len(texts), seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, c := range collations(t, db) {
		t.Run(c.name, func(t *testing.T) {
			class := fold.Of(c.name)
			groups, equal := 0, 0
			compare := func(a, b, from string) {
				if a == b {
					return
				}
				equal++
				x, okX := class.Append(nil, a)
				y, okY := class.Append(nil, b)
				if okX && okY && string(x) != string(y) {
					t.Errorf("%s: %q and %q are equal, but have the names %q and %q", from, a, b, x, y)
				}
			}

			// The server groups by its own comparison. Texts that the character set cannot hold are left out.
			rows, err := db.QueryContext(t.Context(), fmt.Sprintf(`SELECT GROUP_CONCAT(id ORDER BY id) FROM (SELECT id, CONVERT(s USING %[1]s) COLLATE %[2]s AS c FROM texts
				WHERE BINARY CONVERT(CONVERT(s USING %[1]s) USING utf8mb4) = BINARY s) AS t GROUP BY c HAVING COUNT(*) > 1`, c.charset, c.name))
			if err != nil {
				t.Fatal(err)
			}
			var sample []string
			for rows.Next() {
				var list string
				if err := rows.Scan(&list); err != nil {
					t.Fatal(err)
				}
				groups++
				first := ""
				for i, id := range strings.Split(list, ",") {
					n := 0
					if _, err := fmt.Sscan(id, &n); err != nil {
						t.Fatal(err)
					}
					if _, ok := class.Append(nil, texts[n]); !ok {
						continue // without a name: it says nothing about its neighbours
					}
					if first == "" {
						first = texts[n]
					}
					compare(first, texts[n], "group")
					if i < 4 {
						sample = append(sample, texts[n])
					}
				}
				if t.Failed() && groups > 1000 {
					break
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
			if len(sample) < 2 {
				t.Skip("no texts are equal")
			}

			// And it says a = b for texts that are made of pieces that are equal somewhere.
			for range 20 {
				var query []string
				var args []any
				var pairs [][2]string
				for range 50 {
					a, b := "", ""
					for range 1 + random.IntN(4) {
						i := random.IntN(len(sample) - 1)
						a += sample[i]
						b += sample[i+random.IntN(2)]
					}
					if random.IntN(3) == 0 {
						b += strings.Repeat(" ", random.IntN(3))
					}
					pairs = append(pairs, [2]string{a, b})
					query = append(query, fmt.Sprintf("CONVERT(? USING %[1]s) = CONVERT(? USING %[1]s) COLLATE %[2]s", c.charset, c.name))
					args = append(args, a, b)
				}
				results := make([]bool, len(pairs))
				into := make([]any, len(pairs))
				for i := range results {
					into[i] = &results[i]
				}
				if err := db.QueryRowContext(t.Context(), "SELECT "+strings.Join(query, ", "), args...).Scan(into...); err != nil {
					t.Fatal(err)
				}
				for i, p := range pairs {
					if results[i] {
						compare(p[0], p[1], "a = b")
					}
				}
			}
			if equal == 0 {
				t.Error("no two texts were compared")
			}
			t.Logf("%d groups, %d equal pairs", groups, equal)
		})
	}
}

type collation struct{ charset, name string }

// collations returns the collations whose texts do not all have one name. Of those that are alike one is enough: the character
// sets of Unicode share their rules, and collations that see accents or cases tell more texts apart.
func collations(t *testing.T, db *sql.DB) (all []collation) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT character_set_name, full_collation_name FROM information_schema.collation_character_set_applicability ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c collation
		if err := rows.Scan(&c.charset, &c.name); err != nil {
			t.Fatal(err)
		}
		root := strings.HasSuffix(c.name, "_general_ci") || strings.HasSuffix(c.name, "_unicode_ci") || strings.HasSuffix(c.name, "_bin")
		other := c.charset == "utf8mb3" || strings.HasPrefix(c.charset, "utf16") || c.charset == "utf32" || c.charset == "ucs2"
		finer := strings.HasSuffix(c.name, "_as_ci") || strings.HasSuffix(c.name, "_as_cs") || strings.HasSuffix(c.name, "_ai_cs")
		nopad := strings.Contains(c.name, "_nopad") && c.name != "utf8mb4_general_nopad_ci" && c.name != "utf8mb4_uca1400_nopad_ai_ci"
		if class := fold.Of(c.name); class == fold.Bytes || class == fold.Unknown || other && !root || finer && c.name != "utf8mb4_uca1400_as_cs" || nopad {
			continue
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d collations", len(all))
	}
	return all
}

// corpus returns every character that can be in a name, alone and in its parts, and the short texts of Latin letters, among
// which languages have letters of two or three characters.
func corpus() []string {
	var texts []string
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			texts = append(texts, s)
		}
	}
	for r := rune(1); r < 0x20000; r++ {
		if r == 0xD800 {
			r = 0xE000
		}
		s := string(r)
		if _, ok := fold.Root.Append(nil, s); !ok {
			continue
		}
		add(s)
		add(norm.NFKD.String(s))
		add(norm.NFD.String(s))
		if r < 0x600 || r > 0x1F000 || r > 0x2000 && r < 0x3100 || r > 0xFE00 {
			add(s + " ")
			add("a" + s)
			add(s + "b")
		}
	}
	letters := []rune("abcdefghijklmnopqrstuvwxyzåäöøæüűőčšžđłñçßþðœıéâêôơưăёйїґ")
	for _, a := range letters {
		for _, b := range letters {
			add(string(a) + string(b))
		}
	}
	for _, a := range letters[:26] {
		for _, b := range letters[:26] {
			for _, c := range letters[:26] {
				add(string([]rune{a, b, c}))
			}
		}
	}
	return texts
}
