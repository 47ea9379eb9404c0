package bench

import (
	"fmt"
	"math/rand/v2"
)

// Keys is a random sequence of keys: the same arguments give the same sequence.
type Keys struct {
	Name  string // of the distribution, printed beside figures
	names [][]byte
	order []uint32 // number of the i-th message's key
}

// Uniform draws n keys, each with the same probability.
func Uniform(keys, n int) *Keys {
	r := rand.New(rand.NewPCG(1, uint64(keys)))
	return draw(fmt.Sprintf("uniform, %d keys", keys), keys, n, func() uint32 { return uint32(r.IntN(keys)) })
}

// Zipf draws n keys, the i-th (from 1) with a probability proportional to 1/i.
func Zipf(keys, n int) *Keys {
	r := rand.New(rand.NewPCG(1, uint64(keys)))
	sums, sum := make([]float64, keys), 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	return draw(fmt.Sprintf("Zipf(1), %d keys", keys), keys, n, func() uint32 {
		x := r.Float64() * sum
		lo, hi := 0, keys-1
		for lo < hi {
			if mid := (lo + hi) / 2; sums[mid] < x {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return uint32(lo)
	})
}

// Hot draws n keys: key 0 with probability share, else one of the other keys with the same probability each.
func Hot(share float64, keys, n int) *Keys {
	r := rand.New(rand.NewPCG(1, uint64(keys)))
	return draw(fmt.Sprintf("one key has %.0f %%, %d others uniform", share*100, keys-1), keys, n, func() uint32 {
		if r.Float64() < share {
			return 0
		}
		return uint32(1 + r.IntN(keys-1))
	})
}

func draw(name string, keys, n int, next func() uint32) *Keys {
	k := &Keys{Name: name, names: make([][]byte, keys), order: make([]uint32, n)}
	for i := range k.names {
		k.names[i] = fmt.Appendf(nil, "key-%d", i)
	}
	for i := range k.order {
		k.order[i] = next()
	}
	return k
}

// Len returns the number of draws.
func (k *Keys) Len() int { return len(k.order) }

// At returns the key of the i-th message.
func (k *Keys) At(i int) []byte { return k.names[k.order[i]] }

// Number returns the number of the key of the i-th message.
func (k *Keys) Number(i int) int { return int(k.order[i]) }

// Count returns the number of different keys.
func (k *Keys) Count() int { return len(k.names) }
