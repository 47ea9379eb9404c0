package pulsar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
)

// Several writers run against random faults with a short HealTimeout. Like a pipeline, the test writes messages that are not
// durable again. Set KEYSTRAND_SEED to repeat a failed seed.
func TestSinkKeepsOrderAndLosesNothingUnderRandomFaults(t *testing.T) {
	seed := rand.Uint64()
	if v := os.Getenv("KEYSTRAND_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomFaults(t, rand.New(rand.NewPCG(seed, 0))) })
		})
		seed++
	}
}

func randomFaults(t *testing.T, r *rand.Rand) {
	t.Helper()
	f := newFake(map[string]int{"out": r.IntN(6)})
	f.oneWriter = false
	left := 200               // a limit, because faults more frequent than recoveries would never end
	roll := func(n int) int { // under f.mu
		if left == 0 || r.IntN(6) > 0 {
			return n
		}
		left--
		return r.IntN(n)
	}
	var mu sync.Mutex
	f.fault = func(_ string, ms []keystrand.Message) fault {
		mu.Lock()
		defer mu.Unlock()
		if x := roll(6); x < 5 || x == 5 && len(ms) > 1 { // a message that is too large alone fails permanently
			return []fault{cut, storeCut, fail, failAll, swallow, dropRest}[x]
		}
		return store
	}
	f.sendFault = func(*pulsar.ProducerMessage) error {
		mu.Lock()
		defer mu.Unlock()
		if x := roll(20); x < 2 {
			return []error{errPanic, pulsar.ErrProducerClosed}[x]
		}
		return nil
	}
	f.openFault = func(string) error {
		mu.Lock()
		x := roll(3)
		mu.Unlock()
		if x == 0 {
			time.Sleep(300 * time.Millisecond)
		}
		if x < 3 {
			return errors.New("connection error")
		}
		return nil
	}
	f.closing = time.Duration(r.IntN(300)) * time.Millisecond
	s := f.sink(t, "out", Config{
		MaxBatchBytes: 200 + r.IntN(2000), MixKeys: r.IntN(2) == 0,
		HealTimeout: time.Duration(1+r.IntN(400)) * time.Millisecond, RequestTimeout: time.Second,
	})
	var writers sync.WaitGroup
	for n := range 2 {
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for round := range 10 {
				var ms []keystrand.Message
				for v := range 5 {
					for k := range 3 {
						ms = append(ms, keyed(fmt.Sprintf("key%d=%d", n*3+k, round*5+v))...)
					}
				}
				for len(ms) > 0 {
					ms = leftOf(t, w.Write(t.Context(), ms), ms)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	f.check(t)
	checkOrder(t, f.read(), true)
}
