package sql_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

// fill appends count records of this size, batch at a time, in turns over the keys.
func fill(b *testing.B, l spill.Log, from, count int64, size, keys, batch int) {
	b.Helper()
	value := make([]byte, size)
	rs := make([]spill.Record, 0, batch)
	for i := from; i < from+count; i++ {
		rs = append(rs, spill.Record{Key: "key-" + strconv.Itoa(int(i)%keys), Message: keystrand.Message{Stream: "orders", Partition: 3, Offset: i, Value: value}})
		if len(rs) == batch || i == from+count-1 {
			if err := l.Append(b.Context(), rs); err != nil {
				b.Fatal(err)
			}
			rs = rs[:0]
		}
	}
}

// BenchmarkAppend appends records of 1 kB on 64 keys.
func BenchmarkAppend(b *testing.B) {
	for _, service := range services() {
		for _, batch := range []int{64, 1000} {
			b.Run(fmt.Sprintf("%v/batch=%d", service.dialect, batch), func(b *testing.B) {
				s := service.newDatabase(b, true).store(b, "benchmark")
				l := open(b, s, owner)
				b.ReportAllocs()
				n := int64(0)
				for b.Loop() {
					fill(b, l, n, int64(batch), 1000, 64, batch)
					n += int64(batch)
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
				if err := errors.Join(l.Close(), s.Close()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkOpen opens a partition with a million records on 10,000 keys. Copies of a record differ only in their offset: Open
// reads none.
func BenchmarkOpen(b *testing.B) {
	const keys = 10_000
	for _, service := range services() {
		b.Run(service.dialect.String(), func(b *testing.B) {
			db := service.newDatabase(b, true)
			s := db.store(b, "benchmark")
			l := open(b, s, owner)
			fill(b, l, 0, keys, 100, keys, keys)
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			numbers := "generate_series(1, 99) AS n (n)"
			if db.dialect == spillsql.MariaDB {
				numbers = "(SELECT seq AS n FROM seq_1_to_99) AS n"
			}
			pool := db.pool(b)
			exec1(b, pool, "INSERT INTO keystrand_spill_records SELECT partition_id, hash, record_offset + n * 10000, size, message FROM keystrand_spill_records CROSS JOIN "+numbers)
			exec1(b, pool, "UPDATE keystrand_spill_strands SET records = records * 100, bytes = bytes * 100, high_offset = high_offset + 990000")
			for b.Loop() {
				l, strands, err := s.Open(b.Context(), owner)
				if err != nil || len(strands) != keys || strands[0].Records != 100 {
					b.Fatalf("%d strands, %v", len(strands), err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
