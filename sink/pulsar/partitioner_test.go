package pulsar

import (
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
)

// The values are the results of makeHash of org.apache.pulsar.client.impl.JavaStringHash and Murmur3Hash32 (4.0.8). The hash of
// polygenelubricants is exactly 2^31, so clearing the sign bit changes it.
func TestPartitionersReturnTheHashesOfTheJavaClient(t *testing.T) {
	for key, want := range map[string]struct{ java, murmur uint32 }{
		"":           {0, 0},
		"hello":      {99162322, 613153351},
		"test":       {3556498, 980144659},
		"key-0":      {101943362, 1664612543},
		"order-4711": {708276994, 1895557592},
		"a-rather-long-key-with-a-hash-that-overflows": {2141962629, 1601024282},
		"polygenelubricants":                           {0, 1101602400},
		"zzzzzzzz":                                     {237460736, 949353932},
		"käse":                                         {3410411, 1964702546},
		"日本語":                                          {25921943, 631534231},
		"😀 emoji":                                      {574868297, 300550334},
	} {
		if got := javaStringHash([]byte(key)) & 0x7fffffff; got != want.java {
			t.Errorf("javaStringHash(%q) = %d, want %d", key, got, want.java)
		}
		if got := murmur3([]byte(key)) & 0x7fffffff; got != want.murmur {
			t.Errorf("murmur3(%q) = %d, want %d", key, got, want.murmur)
		}
		for _, n := range []int{1, 2, 3, 7, 1000} {
			if got := JavaStringHash([]byte(key), n); got != int(want.java)%n {
				t.Errorf("JavaStringHash(%q, %d) = %d", key, n, got)
			}
			if got := Murmur3([]byte(key), n); got != int(want.murmur)%n {
				t.Errorf("Murmur3(%q, %d) = %d", key, n, got)
			}
		}
	}
}

// The client library exports its router. It takes the hash function as an argument; the test passes the unmasked string hash.
func TestGoStringHashAgreesWithTheClientLibrary(t *testing.T) {
	hash := func(s string) uint32 {
		h := uint32(0)
		for i := range len(s) {
			h = 31*h + uint32(s[i])
		}
		return h
	}
	router := pulsar.NewDefaultRouter(hash, 1000, 1<<20, 1, false)
	differ := 0
	for _, key := range []string{"hello", "polygenelubricants", "order-4711", "käse", "zzzzzzzz", "a-rather-long-key-with-a-hash-that-overflows"} {
		for n := 2; n < 12; n++ {
			want := router(&pulsar.ProducerMessage{Key: key}, uint32(n))
			if got := GoStringHash([]byte(key), n); got != want {
				t.Errorf("GoStringHash(%q, %d) = %d, library returns %d", key, n, got, want)
			}
			if JavaStringHash([]byte(key), n) != want {
				differ++
			}
		}
	}
	if differ == 0 {
		t.Error("GoStringHash equals JavaStringHash for a key for which they should differ")
	}
}

func BenchmarkJavaStringHash(b *testing.B) {
	key := []byte("customer-4711-order-12")
	b.ReportAllocs()
	for b.Loop() {
		JavaStringHash(key, 12)
	}
}
