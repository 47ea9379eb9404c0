package binlog_test

import (
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/source/binlog"
)

// benchmarkRows returns the rows of an event: 80 updates that change no key, of about 100 bytes.
func benchmarkRows(table *binlog.Table) []binlog.Row {
	rows := make([]binlog.Row, 80)
	for i := range rows {
		before := []any{uint64(1000000 + i), fmt.Sprintf("user%d@example.com", i), int64(i), int64(7)}
		after := append(append([]any{}, before[:3]...), int64(8))
		rows[i] = binlog.Row{Table: table, Kind: binlog.Update, Before: before, After: after, Transaction: "0-1-5", Index: i}
	}
	return rows
}

func benchmarkTables() map[string]*binlog.Table {
	tables := map[string]*binlog.Table{}
	for n, name := range []string{"keys=0", "keys=1", "keys=2"} {
		t := accounts()
		t.Keys = t.Keys[:n]
		tables[name] = t
	}
	binary := accounts()
	binary.Keys = binary.Keys[:2]
	binary.Columns[1].Collation = "utf8mb4_bin"
	tables["keys=2 binary"] = binary
	return tables
}

// BenchmarkKey is what the keys of a row cost: Seal for the rows of an event, and Key for each.
func BenchmarkKey(b *testing.B) {
	for name, table := range benchmarkTables() {
		b.Run(name, func(b *testing.B) {
			rows := benchmarkRows(table)
			m := message(&rows[0])
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%len(rows) == 0 {
					binlog.Seal(rows, false)
				}
				m.Native = &rows[n%len(rows)]
				if _, err := binlog.Key(m); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}

func BenchmarkJSON(b *testing.B) {
	row := &benchmarkRows(accounts())[0]
	value, err := row.AppendValue(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		dst := value[:0]
		for b.Loop() {
			if dst, err = row.AppendValue(dst[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		for b.Loop() {
			m := stored(b, row)
			if _, err := binlog.RowOf(m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
