package kafka

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

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
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
	for range 20 {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomFaults(t, rand.New(rand.NewPCG(seed, 0))) })
		})
		seed++
	}
}

func randomFaults(t *testing.T, r *rand.Rand) {
	t.Helper()
	f := newFake(t, kfake.SeedTopics(int32(1+r.IntN(6)), "out"))
	c := &cutter{dial: f.net.DialContext}
	s := f.sink(t, "out", Config{
		Dial: c.DialContext, MaxBatchBytes: 200 + r.IntN(1000),
		HealTimeout: time.Duration(1+r.IntN(400)) * time.Millisecond, RequestTimeout: time.Second,
	})
	faults := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut,
		kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
	}
	stop := make(chan struct{})
	var trouble, writers sync.WaitGroup
	trouble.Go(func() {
		for range 60 { // a limit, because faults more frequent than recoveries would never end
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(r.IntN(50)) * time.Millisecond):
			}
			switch r.IntN(4) {
			case 0:
				f.ShufflePartitionLeaders()
			case 1:
				c.cut.Store(int32(r.IntN(3)))
			default:
				f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: faults[r.IntN(len(faults))], Count: 1 + r.IntN(3)})
			}
		}
	})
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
	close(stop)
	trouble.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkOrder(t, f.read(t, "out"), true)
}

// leftOf returns the messages to write again.
func leftOf(t *testing.T, err error, ms []keystrand.Message) []keystrand.Message {
	t.Helper()
	if err == nil {
		return nil
	}
	p, ok := errors.AsType[*sink.PartialError](err)
	if !ok {
		return ms
	}
	var left []keystrand.Message
	gap := make(map[string]bool)
	for i, err := range p.Errs {
		k := string(ms[i].Key)
		if err == nil && gap[k] {
			t.Errorf("%s=%s is reported durable, but an earlier message of its key is not", k, ms[i].Value)
		}
		if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
			t.Errorf("%s=%s failed permanently: %v", k, ms[i].Value, err)
		}
		if err != nil {
			gap[k] = true
			left = append(left, ms[i])
		}
	}
	return left
}
