package kafka_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// join accepts in the background, as a second member does. The channel is closed without a value if that fails.
func (w *world) join(s *kafka.Source, n int) <-chan map[int32]source.Partition {
	got := make(chan map[int32]source.Partition, 1)
	go func() {
		defer close(got)
		got <- w.accept(s, n)
	}()
	return got
}

// I7: the second member gets no partition before the first has released it, and starts at the last commit of the drain: no
// message is redelivered.
//
// seeds 4, 6
func TestPartitionMovesOnlyAfterRelease(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 4)
		got := w.join(b, 2)
		for _, p := range ps {
			if l := <-p.Leaving(); l.Lost || time.Until(l.Deadline) < 50*time.Second {
				t.Fatalf("%v: leave = %+v, want almost the rebalance timeout", p.ID(), l)
			}
		}
		time.Sleep(20 * time.Second) // draining
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a partition moved before it was released")
		default:
		}
		w.commit(ps[3], 7, commit.Range{From: 9, To: 10})
		for _, p := range ps {
			w.release(p)
		}
		as := w.accept(a, 2)
		bs := <-got
		for n, p := range bs {
			if p.ID().Epoch <= ps[n].ID().Epoch {
				t.Errorf("%v: the epoch was %d before", p.ID(), ps[n].ID().Epoch)
			}
		}
		for _, all := range []map[int32]source.Partition{as, bs} {
			if p := all[3]; p != nil && p.Restored().Frontier != 7 {
				t.Errorf("restored = %+v, want the frontier 7 that was committed in the drain", p.Restored())
			}
		}
		w.close(a, as)
		w.close(b, bs)
	})
}

// Heartbeats go on during a drain that is longer than the session timeout. They have to find the coordinator, which may be none
// of the configured brokers.
func TestDrainLongerThanTheSessionKeepsTheMembership(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{
		"one broker":    nil,
		"three brokers": {kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094)},
	} {
		t.Run(name, func(t *testing.T) { inWorld(t, 2, drainLongerThanTheSession, opts...) })
	}
}

func drainLongerThanTheSession(w *world) {
	t := w.t
	if len(w.brokers) > 1 {
		w.brokers = slices.Delete(w.brokers, int(w.cluster.CoordinatorFor("g")), int(w.cluster.CoordinatorFor("g"))+1)
	}
	short := func(c *kafka.Config) { c.SessionTimeout = 6 * time.Second }
	a, b := w.source("g", short), w.source("g", short)
	ps := w.accept(a, 2)
	member := a.Report().Member
	got := w.join(b, 1)
	<-ps[0].Leaving()
	<-ps[1].Leaving()
	time.Sleep(40 * time.Second)
	w.commit(ps[0], 5)
	w.release(ps[0], ps[1])
	as := w.accept(a, 1)
	if now := a.Report().Member; now != member {
		t.Errorf("member %s became %s: it was evicted", member, now)
	}
	if len(ps[0].Leaving())+len(ps[1].Leaving()) > 0 {
		t.Error("a partition was lost in an orderly drain")
	}
	bs := <-got
	w.close(a, as)
	w.close(b, bs)
}

func TestMemberThatCannotDrainLosesItsPartitionsBeforeTheRebalanceTimeout(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		timeout := func(c *kafka.Config) { c.RebalanceTimeout = 20 * time.Second }
		a, b := w.source("g", timeout), w.source("g", timeout)
		ps := w.accept(a, 1)
		member := a.Report().Member
		got := w.join(b, 0)
		go func() { _, _ = b.Accept(t.Context()) }()
		<-got
		<-ps[0].Leaving()
		began := time.Now()
		if l := <-ps[0].Leaving(); !l.Lost {
			t.Fatalf("leave = %+v, want lost", l)
		}
		if d := time.Since(began); d > 18*time.Second || d < 10*time.Second {
			t.Errorf("lost after %v of a rebalance timeout of 20s", d)
		}
		if _, err := ps[0].Commit(t.Context(), progress(ps[0], 3)); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit of a lost partition: %v", err)
		}
		time.Sleep(30 * time.Second)
		if now := a.Report().Member; now != member {
			t.Errorf("member %s became %q: it was evicted", member, now)
		}
		// I8: the member continues in a newer generation, which must not send commits of the old one: the broker does not
		// check the owner of a partition.
		if _, err := ps[0].Commit(t.Context(), progress(ps[0], 3)); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit of a lost partition, in the next generation: %v", err)
		}
		if offset, _ := w.stored("g", 0); offset != 0 {
			t.Errorf("committed = %d, want 0: a commit of an old generation was stored", offset)
		}
		w.release(ps[0])
	})
}

// A partition is accepted again only after its previous Release, even if that is several generations later.
func TestNoAcceptBeforeRelease(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		timeout := func(c *kafka.Config) { c.RebalanceTimeout = 20 * time.Second }
		a := w.source("g", timeout)
		ps := w.accept(a, 1)
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID})
		for l := range ps[0].Leaving() {
			if l.Lost {
				break
			}
		}
		h.Remove()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if p, err := a.Accept(ctx); err == nil {
			t.Fatalf("%v was accepted while %v is not released", p.ID(), ps[0].ID())
		}
		w.release(ps[0])
		again := w.accept(a, 1)
		if again[0].ID().Epoch <= ps[0].ID().Epoch {
			t.Errorf("%v follows %v", again[0].ID(), ps[0].ID())
		}
		w.close(a, again)
	})
}

// Fetch must not delay a hand-over.
func TestFetchEndsWhenThePartitionIsRevoked(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 1)
		var got error
		var fetching sync.WaitGroup
		fetching.Go(func() { got = ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}) })
		ctx, cancel := context.WithCancel(t.Context())
		var joining sync.WaitGroup
		joining.Go(func() { _, _ = b.Accept(ctx) })
		fetching.Wait()
		if !errors.Is(got, source.ErrLeaving) {
			t.Errorf("Fetch = %v, want ErrLeaving", got)
		}
		w.release(ps[0])
		cancel()
		joining.Wait()
	})
}

// I8: no commit of an epoch is sent after its release.
func TestNoCommitAfterRelease(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g")
		ps := w.accept(a, 1)
		w.commit(ps[0], 2)
		sent := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1})
		w.release(ps[0])
		if _, err := ps[0].Commit(t.Context(), progress(ps[0], 9)); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit after release: %v", err)
		}
		time.Sleep(time.Minute)
		if n := sent.Hits(); n != 0 {
			t.Errorf("%d commits were sent after release", n)
		}
		if offset, _ := w.stored("g", 0); offset != 2 {
			t.Errorf("committed = %d, want 2", offset)
		}
		w.close(a, nil)
	})
}

// I8: Release waits for the current request, so that no commit is sent after it.
func TestReleaseWaitsForTheCurrentCommit(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g")
		ps := w.accept(a, 1)
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.SleepControl(func() { time.Sleep(4 * time.Second) })
			return nil, nil, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ps[0].Commit(ctx, progress(ps[0], 4)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("commit = %v, want the end of its ctx", err)
		}
		began := time.Now()
		w.release(ps[0])
		if d := time.Since(began); d < 2*time.Second {
			t.Errorf("released after %v, while a commit was not answered", d)
		}
		w.close(a, nil)
	})
}

// I8: Release returns when its ctx ends, without the answer to the current commit. Whatever the answer, the commit is not
// retried: the partition may have another owner.
func TestCommitThatOutlivesItsReleaseIsNotSentAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g")
		ps := w.accept(a, 1)
		sent := 0 // of the cluster's goroutine, until the end
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			sent++
			w.cluster.SleepControl(func() { time.Sleep(4 * time.Second) })
			return refusedCommit(r, kerr.CoordinatorLoadInProgress), nil, true
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ps[0].Commit(ctx, progress(ps[0], 4)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("commit = %v, want the end of its ctx", err)
		}
		began := time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ps[0].Release(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("released after %v, want the end of its ctx", d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if sent != 1 {
			t.Errorf("the commit was sent %d times, want once, before the release", sent)
		}
		w.close(a, nil)
	})
}

// refusedCommit answers an OffsetCommit with an error for every partition.
func refusedCommit(r kmsg.Request, why *kerr.Error) kmsg.Response {
	req, ok := r.(*kmsg.OffsetCommitRequest)
	if !ok {
		panic(r)
	}
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.SetVersion(req.GetVersion())
	for _, rt := range req.Topics {
		t := kmsg.NewOffsetCommitResponseTopic()
		t.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			p := kmsg.NewOffsetCommitResponseTopicPartition()
			p.Partition, p.ErrorCode = rp.Partition, why.Code
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
