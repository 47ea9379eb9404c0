package pulsar

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// Against a real broker: KEYSTRAND_PULSAR and KEYSTRAND_PULSAR_ADMIN, as for the live tests.
func BenchmarkLiveWrite(b *testing.B) {
	url, admin := os.Getenv("KEYSTRAND_PULSAR"), os.Getenv("KEYSTRAND_PULSAR_ADMIN")
	if url == "" || admin == "" {
		b.Skip("KEYSTRAND_PULSAR or KEYSTRAND_PULSAR_ADMIN is not set: start a broker with tools/services and take its env")
	}
	for _, mix := range []bool{false, true} {
		for _, keys := range []int{10, 1000} {
			b.Run(fmt.Sprintf("mixed=%v/keys=%d", mix, keys), func(b *testing.B) {
				name := fmt.Sprintf("persistent://public/default/sink-benchmark-%d", time.Now().UnixNano())
				if err := (&pulsartest.Admin{URL: admin}).Create(b.Context(), name, 4); err != nil {
					b.Fatal(err)
				}
				s, err := New(url, name, Config{MixKeys: mix})
				if err != nil {
					b.Fatal(err)
				}
				w, err := s.Open()
				if err != nil {
					b.Fatal(err)
				}
				ms := make([]keystrand.Message, 1000)
				for i := range ms {
					ms[i] = keystrand.Message{Key: fmt.Appendf(nil, "key%d", rand.IntN(keys)), Value: make([]byte, 100)}
				}
				if err := w.Write(b.Context(), ms); err != nil { // opens the producers
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := w.Write(b.Context(), ms); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*len(ms))/b.Elapsed().Seconds(), "msgs/s")
				_, _ = w.Close(), s.Close()
			})
		}
	}
}
