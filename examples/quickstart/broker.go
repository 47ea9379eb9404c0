package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
)

const posts = 1_000

// broker is where the comments are: what the show needs beside reading them.
type broker interface {
	// fill makes the topic and writes comments. It returns how many the hottest post has.
	fill(ctx context.Context, topic string, messages int) (hottest int, err error)
	// committed asks which comments are committed, in a group whose process was killed.
	committed(ctx context.Context, topic, group string) (func(comment) bool, error)
	// flags are how a member is told of the broker.
	flags() []string
	// freed says when others get the partitions of a process that was killed.
	freed() string
	// close ends what was begun.
	close()
}

// comment is one message: the n-th comment of a post, from 1, and where it stands in the log.
type comment struct {
	post      string
	n         int
	partition int64
	offset    int64
}

// draw gives comments of posts to write, in random order: of post i as many as (i+1)^-0.4 says. A comment's key is its
// post, its value its number within the post, which is what the check looks at.
func draw(messages int, write func(key, value []byte) error) (hottest int, err error) {
	counts := make([]int, posts)
	pick := zipf(0.4)
	for range messages {
		post := pick()
		counts[post]++
		hottest = max(hottest, counts[post])
		if err := write(fmt.Appendf(nil, "post-%d", post), fmt.Append(nil, counts[post])); err != nil {
			return 0, err
		}
	}
	return hottest, nil
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
