package show

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

const posts = 1_000

// A Comment is one message: comment N, from 1, on a post, and its place in the log.
type Comment struct {
	Post      string
	N         int
	Partition int64
	Offset    int64
}

// Draw calls write for each of the comments, in a random order that is the same in every run. Post i gets a number of
// comments proportional to (i+1)^-0.4. The key of a comment is its post, its value is its number within the post.
// Draw returns how many comments the busiest post has.
func Draw(messages int, write func(key, value []byte) error) (busiest int, err error) {
	counts := make([]int, posts)
	pick := zipf(0.4)
	for range messages {
		post := pick()
		counts[post]++
		busiest = max(busiest, counts[post])
		if err := write(fmt.Appendf(nil, "post-%d", post), fmt.Append(nil, counts[post])); err != nil {
			return 0, err
		}
	}
	return busiest, nil
}

// zipf returns a function that picks numbers below posts, i with a probability proportional to (i+1)^-s.
func zipf(s float64) func() int {
	sums, sum := make([]float64, posts), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	return func() int {
		i, _ := slices.BinarySearch(sums, r.Float64()*sum)
		return min(i, posts-1)
	}
}
