package commit_test

import (
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// BenchmarkEncode encodes 100,000 offsets ahead of one stuck message within a Kafka broker's limit.
func BenchmarkEncode(b *testing.B) {
	for _, s := range shapes() {
		b.Run(s.name, func(b *testing.B) {
			p := pattern(100_000, s.settled)
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				text, _ := commit.Encode(p, kafkaLimit)
				size = len(text)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, s := range shapes() {
		b.Run(s.name, func(b *testing.B) {
			text, _ := commit.Encode(pattern(100_000, s.settled), kafkaLimit)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := commit.Decode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
