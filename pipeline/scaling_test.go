package pipeline_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// The handler waits 100 ms; messages are ordered by post, and post i is in partition i mod 4. One partition after the
// other, the run takes as long as the fullest partition. With lanes and 100 workers it takes max(work / workers, chain
// of the hottest post). Either way nothing is lost and each post stays in order.
func TestSlowHandlersAreLimitedByWorkersOrTheHottestKey(t *testing.T) { // seeds 27, 28, 29, 30, 35
	const messages, posts, parts, workers, handler = 8000, 1000, 4, 100, 100 * time.Millisecond
	for _, c := range []struct {
		name  string
		zipf  float64 // exponent; 0 for uniform keys
		lanes bool    // one lane for each post; otherwise one for each partition
		gain  float64 // minimum speed-up over one partition after the other
	}{
		{"partition by partition", 0, false, 1},
		{"uniform posts", 0, true, 24},
		{"Zipf(0.5)", 0.5, true, 15},
		{"Zipf(1)", 1, true, 2.4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(t)
				log := memory.NewLog("posts", parts)
				perPost, perPart := make([]int, posts), make([]int, parts)
				for _, post := range draw(random(t, 1), messages, posts, c.zipf) {
					key := fmt.Sprintf("k%d", post)
					p := int32(post % parts)
					l.put(p, log.Append(p, keyed(key))-1, key)
					perPost[post]++
					perPart[p]++
				}
				log.Close()
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).
					Limits(pipeline.Limits{Workers: workers, InFlight: 2 * messages, KeyShare: 2 * messages}).
					Handle(l.handler(func(context.Context, *keystrand.Message) error {
						time.Sleep(handler)
						return nil
					}))
				if !c.lanes {
					b.Key(keystrand.ByPartition)
				}
				began := time.Now()
				if err := start(t, b).wait(); err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				l.checkAllSettled()
				if n := l.repeats(); n != 0 {
					t.Errorf("%d messages handled twice", n)
				}
				serial := time.Duration(most(perPart)) * handler
				bound := serial
				if c.lanes {
					bound = max(messages*handler/workers, time.Duration(most(perPost))*handler)
				}
				gain := serial.Seconds() / took.Seconds()
				t.Logf("took %v, bound %v, %.1f times as fast as partition by partition", took, bound, gain)
				if took < bound || float64(took) > 1.05*float64(bound) {
					t.Errorf("took %v, want the bound %v and at most 5 %% more", took, bound)
				}
				if gain < c.gain {
					t.Errorf("%.1f times as fast as partition by partition, want %v", gain, c.gain)
				}
			})
		})
	}
}

// draw returns n numbers below keys. The i-th key (from 1) has a probability proportional to 1/i^exponent.
func draw(r *rand.Rand, n, keys int, exponent float64) []int {
	sums, sum := make([]float64, keys), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -exponent)
		sums[i] = sum
	}
	drawn := make([]int, n)
	for i := range drawn {
		x := r.Float64() * sum
		for sums[drawn[i]] <= x {
			drawn[i]++
		}
	}
	return drawn
}

func most(counts []int) int {
	n := 0
	for _, c := range counts {
		n = max(n, c)
	}
	return n
}
