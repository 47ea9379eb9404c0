package main

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

const (
	posts = 4_000
	viral = "post-viral"

	writeInterval = 2 * time.Millisecond
)

// rates are comments a second.
type rates struct {
	others int // on all other posts together
	viral  int
}

// tenfold is ten times what the handler of the viral post can take, one comment after the other.
var tenfold = rates{others: 1_500, viral: 2_000}

// A comment is due at a time of its phase, whether the comments before it are handled or not.
type comment struct {
	due  time.Duration // since the start of the load
	post string
	n    int // number within its post, from 1
}

// plan returns the comments of a load of that length, in the order in which they are due. The viral post gets comments from
// a time on; if that is negative, it gets none. The posts of the other comments are random, and the same in every run.
func plan(r rates, from, length time.Duration) []comment {
	var all []comment
	counts := map[string]int{}
	add := func(due time.Duration, post string) {
		counts[post]++
		all = append(all, comment{due, post, counts[post]})
	}
	random := rand.New(rand.NewPCG(1, 2))
	next := from
	for due := range every(length, r.others) {
		for from >= 0 && next <= due {
			add(next, viral)
			next += time.Second / time.Duration(r.viral)
		}
		add(due, fmt.Sprintf("post-%d", random.IntN(posts)))
	}
	return all
}

// every yields the times of a rate.
func every(length time.Duration, perSecond int) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for i := 0; ; i++ {
			at := time.Duration(i) * time.Second / time.Duration(perSecond)
			if at >= length || !yield(at) {
				return
			}
		}
	}
}

// write writes each comment when it is due. It is an open loop: it does not wait for the service.
func write(ctx context.Context, w sink.Writer, comments []comment, start time.Time) error {
	tick := time.NewTicker(writeInterval)
	defer tick.Stop()
	var batch []keystrand.Message
	for len(comments) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Since(start)
		for batch = batch[:0]; len(comments) > 0 && comments[0].due <= now; comments = comments[1:] {
			c := comments[0]
			batch = append(batch, keystrand.Message{Key: []byte(c.post), Value: fmt.Append(nil, c.n), Time: start.Add(c.due)})
		}
		if err := w.Write(ctx, batch); err != nil {
			return fmt.Errorf("write comments: %w", err)
		}
	}
	return nil
}
