package sql_test

import (
	"sync/atomic"
	"testing"

	commitsql "github.com/keystrand/keystrand/commit/sql"
)

// BenchmarkTick saves 110 partitions at once, as a pipeline of 1,000 idle partitions beside a busy one does each second.
func BenchmarkTick(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) {
		db := newFile(b)
		db.url += "&_pragma=synchronous(full)"
		tick(b, db)
	})
	for _, db := range services() {
		if db.dialect != commitsql.MySQL {
			b.Run(db.dialect.String(), func(b *testing.B) { tick(b, db.newDatabase(b)) })
		}
	}
}

func tick(b *testing.B, db database) {
	b.Helper()
	var transactions atomic.Int64
	s := db.store(b, db.pool(b, counted(&transactions)), commitsql.Config{})
	epochs := make([]int64, 110)
	for i := range epochs {
		epochs[i] = claim(b, s, int32(i)).Epoch
	}
	transactions.Store(0)
	b.ReportAllocs()
	frontier := int64(0)
	for b.Loop() {
		frontier++
		if err := saveAll(b.Context(), s, len(epochs), func(p int32) int64 { return epochs[p] }, frontier); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(transactions.Load())/float64(b.N), "transactions/op")
}
