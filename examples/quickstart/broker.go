package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
	sink "github.com/keystrand/keystrand/sink/kafka"
)

const posts = 1_000

// embedded starts a broker within this process: it speaks Kafka's protocol and keeps everything in memory.
func embedded() (*kfake.Cluster, error) { return kfake.NewCluster(kfake.NumBrokers(1)) }

// fill makes the topic and writes comments: of post i as many as (i+1)^-0.4 says, in random order. It returns how many
// the hottest post has.
func fill(ctx context.Context, brokers, topic string, messages int) (hottest int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return 0, err
	}
	s, err := sink.New(strings.Split(brokers, ","), topic, sink.Config{})
	if err != nil {
		return 0, err
	}
	w, err := s.Open()
	if err != nil {
		return 0, err
	}
	counts := make([]int, posts)
	batch := make([]keystrand.Message, 0, 1_000)
	pick := zipf(0.4)
	for i := range messages {
		post := pick()
		counts[post]++
		hottest = max(hottest, counts[post])
		batch = append(batch, keystrand.Message{
			Key:   fmt.Appendf(nil, "post-%d", post),
			Value: fmt.Append(nil, counts[post]), // the number of the comment within its post: what the check looks at
			Time:  time.Now(),
		})
		if len(batch) == cap(batch) || i == messages-1 {
			if err := w.Write(ctx, batch); err != nil {
				return 0, err
			}
			batch = batch[:0]
		}
	}
	return hottest, errors.Join(w.Close(), s.Close())
}

// zipf returns numbers below posts, i with a probability that goes with (i+1)^-s.
func zipf(s float64) func() int {
	sums, sum := make([]float64, posts), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	return func() int {
		x, lo, hi := r.Float64()*sum, 0, posts-1
		for lo < hi {
			if mid := (lo + hi) / 2; sums[mid] < x {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo
	}
}
