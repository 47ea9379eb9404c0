package binlog_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

// accounts returns a table with a primary key, a unique key, and one of two columns.
func accounts() *binlog.Table {
	return &binlog.Table{
		Database: "shop", Name: "accounts",
		Columns: []binlog.Column{
			{Name: "id", Type: "bigint", Unsigned: true},
			{Name: "email", Type: "varchar", Collation: "utf8mb4_general_ci"},
			{Name: "region", Type: "int"},
			{Name: "number", Type: "int"},
		},
		Keys: []binlog.UniqueKey{
			{Name: "PRIMARY", Columns: []int{0}},
			{Name: "email", Columns: []int{1}},
			{Name: "place", Columns: []int{2, 3}},
		},
	}
}

// message returns the message of a row, as a source makes it.
func message(r *binlog.Row) *keystrand.Message {
	return &keystrand.Message{Stream: r.Table.String(), Offset: 12, Native: r}
}

// stored returns m as it comes back from a log, with nothing but its value.
func stored(tb testing.TB, n keystrand.Native) *keystrand.Message {
	tb.Helper()
	value, err := n.AppendValue([]byte("before"))
	if err != nil {
		tb.Fatal(err)
	}
	return &keystrand.Message{Stream: "shop.accounts", Offset: 12, Value: value[len("before"):]}
}

// lanesOf returns the lanes of a message, or "barrier".
func lanesOf(tb rapid.TB, m *keystrand.Message) []string {
	tb.Helper()
	k, err := binlog.Key(m)
	if err != nil {
		tb.Fatal(err)
	}
	if k.IsBarrier() {
		return []string{"barrier"}
	}
	first, more, ok := k.Lanes()
	if !ok {
		return nil
	}
	return append([]string{first}, more...)
}

// sameValue reports whether two values of a row are the same to the bit.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b))
	case []byte:
		b, ok := b.([]byte)
		return ok && slices.Equal(a, b)
	}
	return a == b
}

// values draws values of any type that a row may have.
func values() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Just(any(nil)),
		rapid.Map(rapid.Int64(), func(v int64) any { return v }),
		rapid.Map(rapid.Uint64(), func(v uint64) any { return v }),
		rapid.Map(rapid.Float64(), func(v float64) any { return v }),
		rapid.Map(rapid.String(), func(v string) any { return v }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) any { return v }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) any { return string(v) }),
		rapid.SampledFrom([]any{
			int64(math.MinInt64), int64(math.MaxInt64), uint64(math.MaxUint64), uint64(math.MaxInt64) + 1, math.Copysign(0, -1), 0.0, 5.0,
			math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 1e21, -1e-7, "",
			[]byte{},
			"12345678901234567890.0123456789", "-0.00", "0000-00-00", "null", "\x00\u2028\"\\\x7f\ufffd", "a\xff", `{"base64":""}`,
		}),
	)
}

// tables draws tables with any columns and keys.
func tables() *rapid.Generator[*binlog.Table] {
	return rapid.Custom(func(t *rapid.T) *binlog.Table {
		table := &binlog.Table{
			Database: rapid.SampledFrom([]string{"shop", "a.b", "x\xff", ""}).Draw(t, "database"), Name: rapid.String().Draw(t, "name"),
			Whole: rapid.Bool().Draw(t, "whole"),
		}
		names := rapid.SliceOfNDistinct(rapid.String(), 1, 5, func(s string) string { return s }).Draw(t, "names")
		for _, n := range names {
			table.Columns = append(table.Columns, binlog.Column{
				Name: n, Type: rapid.SampledFrom([]string{"int", "bit", "varchar", "decimal", "blob", "t\xfe"}).Draw(t, "type"),
				Unsigned: rapid.Bool().Draw(t, "unsigned"), Generated: rapid.Bool().Draw(t, "generated"),
				Collation: rapid.SampledFrom([]string{"", "utf8mb4_general_ci", "utf8mb4_bin", "latin1_danish_ci", "none_ci"}).Draw(t, "collation"),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "keys") {
			k := binlog.UniqueKey{
				Name:    rapid.SampledFrom([]string{"PRIMARY", "a", "b"}).Draw(t, "key"),
				Columns: rapid.SliceOfN(rapid.IntRange(0, len(names)-1), 1, 3).Draw(t, "columns"),
			}
			if rapid.Bool().Draw(t, "prefixes") {
				k.Prefixes = rapid.SliceOfN(rapid.IntRange(0, 4), len(k.Columns), len(k.Columns)).Draw(t, "prefixes")
			}
			table.Keys = append(table.Keys, k)
		}
		return table
	})
}

// rows draws a row of a table.
func rows(table *binlog.Table) *rapid.Generator[*binlog.Row] {
	return rapid.Custom(func(t *rapid.T) *binlog.Row {
		n := len(table.Columns)
		r := &binlog.Row{
			Table: table, Kind: rapid.SampledFrom([]binlog.Kind{binlog.Insert, binlog.Update, binlog.Delete}).Draw(t, "kind"),
			Transaction: rapid.SampledFrom([]string{"", "0-1-5", "x\xff"}).Draw(t, "transaction"), Index: rapid.Int().Draw(t, "index"),
		}
		if r.Kind != binlog.Insert {
			r.Before = rapid.SliceOfN(values(), n, n).Draw(t, "before")
		}
		if r.Kind != binlog.Delete {
			r.After = rapid.SliceOfN(values(), n, n).Draw(t, "after")
			if r.Before != nil { // most columns do not change
				for i := range r.After {
					if rapid.IntRange(0, 2).Draw(t, "change") > 0 {
						r.After[i] = r.Before[i]
					}
				}
			}
		}
		return r
	})
}
