package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pause"
)

// round sends one batch of each partition and handles the answers. It reports whether there was no transient error.
func (w *writer) round(ctx context.Context) (healthy bool) {
	healthy = w.gather(ctx)
	if len(w.requests) == 1 {
		w.requests[0].send(ctx, w)
	} else {
		var wg sync.WaitGroup
		for _, q := range w.requests {
			wg.Go(func() { q.send(ctx, w) })
		}
		wg.Wait()
	}
	for _, q := range w.requests {
		for _, s := range q.shards {
			if !w.take(ctx, s) {
				healthy = false
			}
		}
	}
	return healthy
}

// gather makes the requests of a round, one per leader. It reports whether every partition has a leader.
func (w *writer) gather(ctx context.Context) (healthy bool) {
	healthy = true
	w.requests = w.requests[:0]
	for _, s := range w.active {
		if !s.fill(w) {
			continue
		}
		if s.leader < 0 {
			w.divertKeyless(s)
			if !s.pending() {
				continue
			}
			w.trouble(ctx, s, describe(&w.sink.cfg, s.topic, s.partition, kafka.LeaderNotAvailable))
			healthy = false
			continue
		}
		w.requestTo(s.leader).add(s)
	}
	return healthy
}

func (w *writer) requestTo(leader int32) *request {
	for _, q := range w.requests {
		if q.leader == leader {
			return q
		}
	}
	q := &request{leader: leader}
	w.requests = append(w.requests, q)
	return q
}

// take handles the answer to the batch of a partition. It returns false if the batch must be sent again after a pause.
func (w *writer) take(ctx context.Context, s *shard) (healthy bool) {
	if s.answer == nil {
		w.sink.failing.ends(ctx, w.sink.cfg.Logger, s)
		s.advance()
		w.recovered()
		return true
	}
	err := describe(&w.sink.cfg, s.topic, s.partition, s.answer)
	c := cureFor(s.answer)
	switch c {
	case heal:
		w.trouble(ctx, s, err)
		return false
	case split:
		w.sink.failing.ends(ctx, w.sink.cfg.Logger, s)
		s.narrow(w, err)
	case report, forbid:
		w.sink.failing.ends(ctx, w.sink.cfg.Logger, s)
		w.failAll(s.rest(), err, c)
		s.drop()
	}
	return true
}

// trouble records a transient error. The end of ctx is none, and ends the retries.
func (w *writer) trouble(ctx context.Context, s *shard, err error) {
	if ctx.Err() == nil {
		w.sink.failing.begins(ctx, w.sink.cfg.Logger, s, err)
	}
	s.err = err
	w.waits.Set(err)
	w.sink.cluster.doubt(s.topic) // this Write may end before it asks again; then the next one asks
}

// recovered clears the trouble once no message waits because of an error.
func (w *writer) recovered() {
	for _, s := range w.active {
		if s.err != nil {
			return
		}
	}
	if len(w.unrouted) == 0 {
		w.waits.Set(nil)
	}
}

// failAll records err for the messages that have not failed yet.
func (w *writer) failAll(batch []int, err error, c cure) {
	if c == forbid {
		err = keystrand.Permanent(err)
	}
	for _, i := range batch {
		if !w.res.Failed(i) {
			w.res.Fail(i, err)
		}
	}
}

// abandon records an error for all remaining messages.
func (w *writer) abandon(cause error) {
	for name, b := range w.unrouted {
		w.failAll(b.batch, w.because(name, -1, cause, b.err), heal)
	}
	for _, s := range w.active {
		if s.pending() {
			w.failAll(s.rest(), w.because(s.topic, s.partition, cause, s.err), heal)
		}
	}
}

// pause waits before the next round, which then requests the leaders again. It returns an error if there is no next round,
// because HealTimeout is over or ctx has ended.
func (w *writer) pause(ctx context.Context) error {
	limit := w.sink.cfg.HealTimeout
	if w.wait == nil {
		w.healBy = time.Now().Add(limit)
		w.wait = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMultiplier(2),
			backoff.WithMaxInterval(time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	left := time.Until(w.healBy)
	if left <= 0 {
		return fmt.Errorf("still failing after %v", limit)
	}
	err := pause.For(ctx, min(w.wait.NextBackOff(), left))
	w.since = time.Now()
	return err
}
