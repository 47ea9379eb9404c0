package kafka

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
)

// One op is a Write of so many messages of 100 B over 8 partitions. The broker runs in this process and discards them. The
// library's own Writer is measured for comparison.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		ms := make([]keystrand.Message, n)
		theirs := make([]kafka.Message, n)
		for i := range ms {
			ms[i] = keystrand.Message{Key: fmt.Appendf(nil, "key%d", i), Value: bytes.Repeat([]byte("v"), 100), Time: time.Unix(1e9, 0)}
			theirs[i] = kafka.Message{Key: ms[i].Key, Value: ms[i].Value, Time: ms[i].Time}
		}
		f, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(8, "out"), kfake.BlackholeProduce())
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		b.Run(fmt.Sprintf("messages=%d/keystrand", n), func(b *testing.B) {
			s, err := New(f.ListenAddrs(), "out", Config{})
			if err != nil {
				b.Fatal(err)
			}
			w, err := s.Open()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Write(b.Context(), ms); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msgs/s")
			_, _ = w.Close(), s.Close()
		})
		b.Run(fmt.Sprintf("messages=%d/library", n), func(b *testing.B) {
			w := &kafka.Writer{
				Addr: kafka.TCP(f.ListenAddrs()...), Topic: "out", RequiredAcks: kafka.RequireAll,
				Balancer: kafka.Murmur2Balancer{Consistent: true}, BatchTimeout: time.Millisecond,
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WriteMessages(b.Context(), theirs...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msgs/s")
			_ = w.Close()
		})
	}
}
