package bolt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
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
	for _, batch := range []int{64, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s, err := bolt.New(filepath.Join(b.TempDir(), "spill.db"), bolt.Config{})
			if err != nil {
				b.Fatal(err)
			}
			l, _, err := s.Open(b.Context(), owner)
			if err != nil {
				b.Fatal(err)
			}
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

// BenchmarkOpen opens a file with a million records on 10,000 keys.
func BenchmarkOpen(b *testing.B) {
	const records, keys = 1_000_000, 10_000
	path := filepath.Join(b.TempDir(), "spill.db")
	s, err := bolt.New(path, bolt.Config{})
	if err != nil {
		b.Fatal(err)
	}
	l, _, err := s.Open(b.Context(), owner)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, l, 0, records, 100, keys, 50_000)
	if err := errors.Join(l.Close(), s.Close()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := bolt.New(path, bolt.Config{})
		if err != nil {
			b.Fatal(err)
		}
		l, strands, err := s.Open(b.Context(), owner)
		if err != nil || len(strands) != keys {
			b.Fatalf("%d strands, %v", len(strands), err)
		}
		if err := errors.Join(l.Close(), s.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
