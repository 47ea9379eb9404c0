// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestFiniteSourceEndsAtTheEndSeenAtItsStart(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		t := w.t
		w.produce(0, 5)
		w.produce(1, 2)
		s := w.source("g", func(c *kafka.Config) { c.StopAtEnd = true })
		ps := w.accept(s, 2) // the third is empty
		w.produce(0, 5)
		if got := w.fetch(ps[0], 5); !slices.Equal(got, []int64{0, 1, 2, 3, 4}) {
			t.Errorf("messages %v, want 0 to 4", got)
		}
		lag, isLagger := ps[0].(source.Lagger)
		log, isEnder := ps[0].(source.LogEnder)
		if !isLagger || !isEnder {
			t.Fatal("the partition does not tell its ends")
		}
		end, _ := lag.End()
		if logEnd, _ := log.LogEnd(); end != 5 || logEnd != 5 {
			t.Errorf("End = %d, LogEnd = %d; want 5: what comes later is not read", end, logEnd)
		}
		w.toEnd(ps[0], 0)
		w.toEnd(ps[1], 2)
		for n, p := range ps {
			w.commit(p, map[int32]int64{0: 5, 1: 2}[n])
			w.release(p)
		}
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(s, nil)

		s = w.source("g2", func(c *kafka.Config) { c.StopAtEnd, c.Start = true, kafka.Latest() })
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept with nothing to do = %v, want EOF", err)
		}
		w.close(s, nil)
	})
}

// toEnd reads a finite partition of n messages.
func (w *world) toEnd(p source.Partition, n int) {
	w.t.Helper()
	w.fetch(p, n)
	if err := p.Fetch(w.t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); !errors.Is(err, io.EOF) {
		w.t.Errorf("%v: Fetch at the end = %v, want EOF", p.ID(), err)
	}
}

// A finished member stays until the others have finished: it gets their partitions if they fail.
func TestFiniteSourceWaitsForTheGroup(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 3)
		w.produce(1, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		a, b := w.source("g", finite), w.source("g", finite)
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		ended := make(chan error, 1)
		finish := func(all map[int32]source.Partition) {
			for _, p := range all {
				w.toEnd(p, 3)
				w.commit(p, 3)
				w.release(p)
			}
		}
		finish(as)
		go func() { ended <- w.acceptErr(a) }()
		time.Sleep(time.Minute)
		select {
		case err := <-ended:
			t.Errorf("Accept = %v before the other member has finished", err)
		default:
		}
		finish(bs)
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(a, nil)
		if err := w.acceptErr(b); !errors.Is(err, io.EOF) {
			t.Errorf("Accept of the other = %v, want EOF", err)
		}
		w.close(b, nil)
	})
}

// An empty partition has nothing to commit, and still all members must learn that it is finished.
func TestFiniteMembersDoNotWaitForEachOthersEmptyPartitions(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		t := w.t
		w.produce(1, 3)
		w.produce(3, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		members := []*kafka.Source{w.source("g", finite), w.source("g", finite)}
		ended := make(chan error, len(members))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for _, s := range members {
			go func() {
				for {
					p, err := s.Accept(ctx)
					if err != nil {
						ended <- err
						return
					}
					b := &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
					for err == nil {
						err = p.Fetch(ctx, b)
					}
					if errors.Is(err, io.EOF) {
						_, _ = p.Commit(ctx, progress(p, b.Next))
					}
					w.release(p) //nolint:contextcheck // it has the test's own
				}
			}()
		}
		for range members {
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("Accept = %v, want EOF", err)
			}
		}
		for _, s := range members {
			w.close(s, nil)
		}
	})
}

// The end of a partition must be committed, or its last messages would have no owner.
func TestFinitePartitionWithoutACommitOfItsEndIsAcceptedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 3)
		s := w.source("g", func(c *kafka.Config) { c.StopAtEnd = true })
		for _, frontier := range []int64{2, 3} {
			p := w.accept(s, 1)[0]
			w.toEnd(p, 1)
			w.commit(p, frontier)
			w.release(p)
		}
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(s, nil)
	})
}

// A partition that one member has read to its end, and another one owns now, is not finished before its end is committed.
func TestFiniteMemberWaitsForACommitOfTheEndThatItHasRead(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 3)
		w.produce(1, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		a, b := w.source("g", finite), w.source("g", finite)
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		for _, p := range ps {
			w.toEnd(p, 3)
		}
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		for _, p := range as {
			w.toEnd(p, 3)
			w.commit(p, 3)
			w.release(p)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Accept = %v while the other member has committed nothing, want the end of its ctx", err)
		}
		for _, p := range bs {
			w.toEnd(p, 3)
			w.commit(p, 3)
			w.release(p)
		}
		for _, s := range []*kafka.Source{a, b} {
			if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
				t.Errorf("Accept = %v, want EOF", err)
			}
			w.close(s, nil)
		}
	})
}
