package memory_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// BenchmarkFetch is the cost of one message on its way out of the log; one op is one message.
func BenchmarkFetch(b *testing.B) {
	key, value := []byte("key"), make([]byte, 100)
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("kept/batch=%d", size), func(b *testing.B) {
			const kept = 1 << 14
			log := memory.NewLog("bench", 1)
			for range kept {
				log.Append(0, keystrand.Message{Key: key, Value: value})
			}
			log.Close()
			benchmarkFetch(b, log, size)
		})
		b.Run(fmt.Sprintf("made/batch=%d", size), func(b *testing.B) {
			log := memory.Generate("bench", 1, 1<<62, func(_ int32, _ int64, m *keystrand.Message) { m.Key, m.Value = key, value })
			benchmarkFetch(b, log, size)
		})
	}
}

func benchmarkFetch(b *testing.B, log *memory.Log, size int) {
	b.Helper()
	open := func() source.Partition {
		p, err := memory.NewSource(memory.Config{}, log).Accept(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	p, batch := open(), source.Batch{MaxMessages: size, MaxBytes: 1 << 20}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch.Messages) {
		batch.Messages = batch.Messages[:0]
		err := p.Fetch(b.Context(), &batch)
		if errors.Is(err, io.EOF) {
			b.StopTimer()
			// Another group reads the log again.
			q, err := memory.NewSource(memory.Config{Group: fmt.Sprint(n)}, log).Accept(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			p = q
			b.StartTimer()
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
