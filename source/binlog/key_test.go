package binlog_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

func TestKeyHasTheLanesOfAllUniqueKeysBeforeAndAfter(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after []any
		want          []string
	}{
		{"insert", nil, []any{uint64(18446744073709551615), "Ann@x.org", int64(-1), int64(2)}, []string{"PRIMARY=18446744073709551615", "email=annxorg", "place=-1,2"}},
		{"delete", []any{uint64(1), "Ann@x.org", int64(1), int64(2)}, nil, []string{"PRIMARY=1", "email=annxorg", "place=1,2"}},
		{"update of no key", []any{uint64(1), "ann", int64(1), int64(2)}, []any{uint64(1), "ANN ", int64(1), int64(2)}, []string{"PRIMARY=1", "email=ann", "place=1,2"}},
		{
			"update of all keys",
			[]any{uint64(1), "a", int64(1), int64(2)},
			[]any{uint64(2), "b", int64(1), int64(3)},
			[]string{"PRIMARY=1", "email=a", "place=1,2", "PRIMARY=2", "email=b", "place=1,3"},
		},
		{"a part is NULL", nil, []any{uint64(1), "a", nil, int64(2)}, []string{"PRIMARY=1", "email=a"}},
		{"NULL before and after", []any{uint64(1), nil, nil, nil}, []any{uint64(1), "a", nil, nil}, []string{"PRIMARY=1", "email=a"}},
		{"a character without known equals", nil, []any{uint64(1), "❶", nil, nil}, []string{"barrier"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			row := &binlog.Row{Table: accounts(), Kind: binlog.Update, Before: test.before, After: test.after}
			switch {
			case test.before == nil:
				row.Kind = binlog.Insert
			case test.after == nil:
				row.Kind = binlog.Delete
			}
			want := test.want
			if got := lanesOf(t, message(row)); !slices.Equal(got, want) {
				t.Errorf("lanes are %q, want %q", got, want)
			}
			if got := lanesOf(t, stored(t, row)); !slices.Equal(got, want) {
				t.Errorf("lanes of the stored row are %q, want %q", got, want)
			}
			sealed := []binlog.Row{*row, *row}
			binlog.Seal(sealed, false)
			for i := range sealed {
				if got := lanesOf(t, message(&sealed[i])); !slices.Equal(got, want) {
					t.Errorf("lanes of the sealed row are %q, want %q", got, want)
				}
			}
			binlog.Seal(sealed, true)
			if got := lanesOf(t, message(&sealed[0])); !slices.Equal(got, []string{"barrier"}) {
				t.Errorf("lanes of the row that runs alone are %q", got)
			}
			if got := lanesOf(t, message(&sealed[1])); !slices.Equal(got, want) {
				t.Errorf("lanes of the row after it are %q", got)
			}
		})
	}
}

func TestRowsWithoutAUniqueValueShareALane(t *testing.T) {
	keyless := accounts()
	keyless.Keys = nil
	whole := accounts()
	whole.Whole = true
	unknown := accounts()
	unknown.Keys[1].Columns = []int{9}
	nullable := accounts()
	nullable.Keys = nullable.Keys[1:]
	values := []any{uint64(1), "a", nil, nil}
	for _, test := range []struct {
		name  string
		table *binlog.Table
		after []any
		want  []string
	}{
		{"no key", keyless, values, []string{"*"}},
		{"keys are not known", whole, values, []string{"*"}},
		{"a column is not known", unknown, values, []string{"*"}},
		{"all keys are NULL", nullable, []any{uint64(1), nil, nil, int64(1)}, []string{"*"}},
		{"a key is NULL", nullable, values, []string{"email=a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			row := &binlog.Row{Table: test.table, Kind: binlog.Insert, After: test.after}
			if got := lanesOf(t, message(row)); !slices.Equal(got, test.want) {
				t.Errorf("lanes are %q, want %q", got, test.want)
			}
		})
	}
	// The row gets its first unique value: the change is in the order of its former and its later self.
	row := &binlog.Row{Table: nullable, Kind: binlog.Update, Before: []any{uint64(1), nil, nil, nil}, After: values}
	if got := lanesOf(t, message(row)); !slices.Equal(got, []string{"*", "email=a"}) {
		t.Errorf("lanes are %q", got)
	}
}

func TestEqualValuesHaveOneLane(t *testing.T) {
	text := func(collation string) binlog.Column { return binlog.Column{Type: "varchar", Collation: collation} }
	for _, test := range []struct {
		name   string
		column binlog.Column
		prefix int
		equal  []any
		others []any
	}{
		{"float", binlog.Column{Type: "double"}, 0, []any{0.0, negativeZero()}, []any{1.5, -1.5, 1e300}},
		{"decimal", binlog.Column{Type: "decimal"}, 0, []any{"0.00", "-0.00"}, []any{"-0.01", "0.01", "12345678901234567890.01"}},
		{"time", binlog.Column{Type: "time"}, 0, []any{"00:00:00.00", "-00:00:00.00"}, []any{"-838:59:58.99"}},
		{"date", binlog.Column{Type: "date"}, 0, []any{"0000-00-00"}, []any{"2024-02-00", "2024-02-01"}},
		{"bit", binlog.Column{Type: "bit"}, 0, []any{uint64(0x1555)}, []any{uint64(0), uint64(1) << 63}},
		{"enum", binlog.Column{Type: "enum", Collation: "utf8mb4_general_ci"}, 0, []any{"ü", "Ü"}, []any{"a", ""}},
		{"binary", binlog.Column{Type: "varbinary"}, 0, []any{[]byte("a"), []byte("a")}, []any{[]byte("A"), []byte("a "), []byte("\xff"), []byte{}}},
		{"prefix of bytes", binlog.Column{Type: "blob"}, 2, []any{[]byte("abc"), []byte("abd"), []byte("ab")}, []any{[]byte("a"), []byte("ba")}},
		{"prefix of text", text("utf8mb4_general_ci"), 2, []any{"äöü", "AOX", "ao"}, []any{"a", "oa"}},
		{"prefix of text in bytes", text("utf8mb4_bin"), 2, []any{"äöü", "äö"}, []any{"ä", "ao"}},
		{"text as bytes", text("utf8mb4_general_ci"), 0, []any{"Ä", []byte("a")}, []any{"b"}},
		{"text without a collation", binlog.Column{Type: "varchar"}, 0, []any{"a", "b"}, nil},
		{"long text", text("utf8mb4_general_ci"), 0, []any{strings.Repeat("Ä", 1000) + "1", strings.Repeat("a", 1000) + "1 "}, []any{strings.Repeat("a", 1000) + "2", strings.Repeat("a", 999) + "1"}},
		{"long bytes", binlog.Column{Type: "blob"}, 0, []any{[]byte(strings.Repeat("a", 100)), []byte(strings.Repeat("a", 100))}, []any{[]byte(strings.Repeat("a", 101))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.column.Name = "v"
			table := &binlog.Table{Columns: []binlog.Column{test.column}, Keys: []binlog.UniqueKey{{Name: "k", Columns: []int{0}, Prefixes: []int{test.prefix}}}}
			seen := map[string]any{}
			for i, v := range slices.Concat(test.equal, test.others) {
				lane := lanesOf(t, message(&binlog.Row{Table: table, Kind: binlog.Insert, After: []any{v}}))
				if len(lane) != 1 || len(lane[0]) > 70 || !strings.HasPrefix(lane[0], "k=") {
					t.Errorf("%.20v has the lanes %q", v, lane)
				}
				other, ok := seen[lane[0]]
				if want := i > 0 && i < len(test.equal); ok != want {
					t.Errorf("%.20v has the lane %q, which is also of %.20v", v, lane[0], other)
				}
				seen[lane[0]] = v
			}
		})
	}
}

// Rows without a conflict may share a lane too.
func TestRowsThatConflictShareALane(t *testing.T) { rapid.Check(t, checkConflict) }

func FuzzRowsThatConflictShareALane(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkConflict)) }

func checkConflict(rt *rapid.T) {
	pool := []any{nil, int64(1), int64(2), "a", "A", "á ", "b", "ß", "ss", "❶", []byte("a"), []byte("b"), 0.0, negativeZero(), "\xff"}
	table := tables().Draw(rt, "table")
	image := rapid.SliceOfN(rapid.SampledFrom(pool), len(table.Columns), len(table.Columns))
	a := &binlog.Row{Table: table, Kind: binlog.Insert, After: image.Draw(rt, "a")}
	b := &binlog.Row{Table: table, Kind: binlog.Update, Before: image.Draw(rt, "b"), After: image.Draw(rt, "c")}
	if rapid.Bool().Draw(rt, "same") {
		b.Before = slices.Clone(a.After) // the next change of the same row
	}
	seal := []binlog.Row{*a, *b}
	binlog.Seal(seal, false)
	lanesA, lanesB := lanesOf(rt, message(&seal[0])), lanesOf(rt, message(&seal[1]))
	share := slices.ContainsFunc(slices.Concat(lanesA, lanesB), func(l string) bool {
		return l == "barrier" || slices.Contains(lanesA, l) && slices.Contains(lanesB, l)
	})
	if want := conflict(table, a.After, b.Before) || conflict(table, a.After, b.After); want && !share {
		rt.Fatalf("%v and %v conflict, but have the lanes %q and %q", a.After, b, lanesA, lanesB)
	}
	if got := lanesOf(rt, message(a)); !slices.Equal(got, lanesA) {
		rt.Fatalf("lanes are %q, and %q sealed", got, lanesA)
	}
	if got := lanesOf(rt, message(b)); !slices.Equal(got, lanesB) {
		rt.Fatalf("lanes are %q, and %q sealed", got, lanesB)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(lanesB)))); n != len(lanesB) {
		rt.Fatalf("a lane repeats: %q", lanesB)
	}
}

// conflict is a dumb model: it reports whether two images must not be reordered. They are the same row, or equal in a unique key.
func conflict(t *binlog.Table, a, b []any) bool {
	if slices.EqualFunc(a, b, sameValue) || t.Whole || len(t.Keys) == 0 {
		return true
	}
	for _, k := range t.Keys {
		equal := true
		for i, c := range k.Columns {
			n := 0
			if k.Prefixes != nil {
				n = k.Prefixes[i]
			}
			equal = equal && a[c] != nil && b[c] != nil && normal(a[c], t.Columns[c].Collation, n) == normal(b[c], t.Columns[c].Collation, n)
		}
		if equal {
			return true
		}
	}
	return false
}

func normal(v any, collation string, prefix int) string {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		return strings.TrimPrefix(fmt.Sprint(v), "-")
	}
	if r := []rune(s); prefix > 0 && prefix < len(r) && collation != "" {
		s = string(r[:prefix])
	} else if prefix > 0 && prefix < len(s) && collation == "" {
		s = s[:prefix]
	}
	switch {
	case collation == "none_ci":
		return ""
	case strings.HasSuffix(collation, "_ci"):
		s = strings.NewReplacer("á", "a", "ß", "s", "ss", "s").Replace(strings.ToLower(s))
		s = strings.ReplaceAll(s, "ss", "s")
		fallthrough
	case strings.HasSuffix(collation, "_bin"):
		s = strings.TrimRight(s, " ")
	}
	return s
}

func TestLanesAreTheSameInEveryRelease(t *testing.T) { // they are stored with diverted keys
	table := accounts()
	table.Columns[3] = binlog.Column{Name: "number", Type: "double"}
	row := &binlog.Row{Table: table, Kind: binlog.Insert, After: []any{uint64(1), strings.Repeat("Straße ", 20), int64(-5), 1e300}}
	want := []string{"PRIMARY=1", "email=strasestrasestrasestrasestrasest~fc1a88d4ab26585", "place=-5,1e+300"}
	if got := lanesOf(t, message(row)); !slices.Equal(got, want) {
		t.Errorf("lanes are %q, want %q", got, want)
	}
}

func TestRowsOfOneTableAreSealedByManyGoroutines(t *testing.T) {
	table := accounts()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				rows := []binlog.Row{{Table: table, Kind: binlog.Insert, After: []any{uint64(g), "a", int64(i), int64(i)}}}
				binlog.Seal(rows, false)
				want := []string{fmt.Sprintf("PRIMARY=%d", g), "email=a", fmt.Sprintf("place=%d,%d", i, i)}
				if got := lanesOf(t, message(&rows[0])); !slices.Equal(got, want) {
					t.Errorf("lanes are %q, want %q", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestKeyOfASealedRowAllocatesNothing(t *testing.T) {
	sealed := []binlog.Row{
		{Table: accounts(), Kind: binlog.Insert, After: []any{uint64(1), "a", nil, nil}},
		{Table: accounts(), Kind: binlog.Insert, After: []any{uint64(2), nil, nil, nil}},
	}
	binlog.Seal(sealed, false)
	for i := range sealed {
		m := message(&sealed[i])
		if n := testing.AllocsPerRun(100, func() {
			if _, err := binlog.Key(m); err != nil {
				t.Error(err)
			}
			_ = m.Size()
		}); n != 0 {
			t.Errorf("row %d: %v allocations", i, n)
		}
	}
}

func TestSizeCountsWhatARowPins(t *testing.T) {
	small := &binlog.Row{Table: accounts(), Kind: binlog.Insert, After: []any{uint64(1), "a", nil, nil}}
	large := &binlog.Row{Table: accounts(), Kind: binlog.Insert, After: []any{uint64(1), strings.Repeat("a", 1000), []byte(strings.Repeat("b", 500)), nil}}
	if d := large.Size() - small.Size(); d < 1499 || d > 1600 {
		t.Errorf("1499 bytes more count %d", d)
	}
	before := large.Size()
	sealed := []binlog.Row{*large}
	binlog.Seal(sealed, false)
	if got := sealed[0].Size(); got != before {
		t.Errorf("sealed: %d, before: %d", got, before)
	}
	if got := message(large).Size(); got != before {
		t.Errorf("the message has %d bytes, the row %d", got, before)
	}
	if got := (&keystrand.Message{Native: &binlog.DDL{Query: strings.Repeat("x", 1000)}}).Size(); got < 1000 {
		t.Errorf("a statement of 1000 bytes has %d", got)
	}
}
