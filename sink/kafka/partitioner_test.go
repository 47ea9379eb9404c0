package kafka

import (
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go"
)

// The values are from UtilsTest.testMurmur2 of Apache Kafka, as signed 32-bit numbers.
func TestMurmur2ReturnsTheHashesOfTheJavaClient(t *testing.T) { // seed 38
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionersAgreeWithTheClientLibrary(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	murmur, fnv := kafka.Murmur2Balancer{Consistent: true}, &kafka.Hash{}
	for range 20_000 {
		key := make([]byte, r.IntN(40))
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		ids := make([]int, 1+r.IntN(100))
		for i := range ids {
			ids[i] = i
		}
		m := kafka.Message{Key: key}
		if got, want := Murmur2(key, len(ids)), murmur.Balance(m, ids...); got != want {
			t.Fatalf("Murmur2(%x, %d) = %d, library returns %d", key, len(ids), got, want)
		}
		if got, want := FNV(key, len(ids)), fnv.Balance(m, ids...); got != want {
			t.Fatalf("FNV(%x, %d) = %d, library returns %d", key, len(ids), got, want)
		}
	}
}

func BenchmarkMurmur2(b *testing.B) {
	key := []byte("customer-4711-order-12")
	b.ReportAllocs()
	for b.Loop() {
		Murmur2(key, 12)
	}
}
