package kafka_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestCommitsOfATickTravelTogether(t *testing.T) { // seed 31
	inWorld(t, 8, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 8)
		sent := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1})
		before := sent.Hits()
		for tick := range 10 {
			began := time.Now()
			var all sync.WaitGroup
			for _, p := range ps {
				all.Go(func() { w.commit(p, int64(tick+1)) })
			}
			all.Wait()
			if d := time.Since(began); d > 0 {
				t.Errorf("all partitions committed, and the tick waited %v", d)
			}
		}
		if n := sent.Hits() - before; n != 10 {
			t.Errorf("10 ticks of 8 partitions took %d requests, want 10", n)
		}
		began := time.Now()
		w.commit(ps[3], 20)
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("a single commit waited %v for others", d)
		}
		w.close(s, ps)
	})
}

// kafka-go's Client commits leader epoch 0 for every offset, which makes readers go back after a leader change.
func TestCommitNeverInventsALeaderEpoch(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 3)
		s := w.source("g")
		ps := w.accept(s, 1)
		epoch := func() int32 { return w.cluster.GroupInfo("g").Commits["t"][0].LeaderEpoch }
		w.commit(ps[0], 0)
		if e := epoch(); e != -1 {
			t.Errorf("leader epoch %d of a frontier with nothing read below it, want -1", e)
		}
		w.fetch(ps[0], 3)
		w.commit(ps[0], 3)
		read := epoch()
		w.close(s, ps)
		s = w.source("g")
		ps = w.accept(s, 1)
		if e := epoch(); e != read {
			t.Errorf("leader epoch %d became %d by claiming the partition", read, e)
		}
		w.close(s, ps)

		w.commitWith("g", 0, kadm.Offset{At: 2, LeaderEpoch: 0}) // as kafka-go's Client does
		s = w.source("g")
		ps = w.accept(s, 1)
		if e := epoch(); e != -1 {
			t.Errorf("leader epoch %d copied from another program, want -1", e)
		}
		w.close(s, ps)
	})
}

func ranges(n int) []commit.Range {
	var rs []commit.Range
	for i := range int64(n) {
		from := 10 + 37*i + i*i%11
		rs = append(rs, commit.Range{From: from, To: from + 1 + i%5})
	}
	return rs
}

// sentCommits returns the commits of a request.
func sentCommits(r kmsg.Request) []kmsg.OffsetCommitRequestTopicPartition {
	req, ok := r.(*kmsg.OffsetCommitRequest)
	if !ok {
		return nil
	}
	var all []kmsg.OffsetCommitRequestTopicPartition
	for _, t := range req.Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

// tooLarge makes the cluster refuse metadata above a limit, as a broker does.
func (w *world) tooLarge(limit int) *kfake.FaultHandle {
	return w.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: w.topic, Err: kerr.OffsetMetadataTooLarge, Count: -1,
		When: func(r kmsg.Request) bool {
			return slices.ContainsFunc(sentCommits(r), func(p kmsg.OffsetCommitRequestTopicPartition) bool {
				return p.Metadata != nil && len(*p.Metadata) > limit
			})
		},
	})
}

func TestCommitIsNeverRefusedForItsSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int
	}{{"a broker's default", 4096}, {"a small broker", 1000}, {"a broker that accepts none", 0}} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				h := w.tooLarge(c.limit)
				s := w.source("g")
				ps := w.accept(s, 1)
				stored := w.commit(ps[0], 5, ranges(20000)...)
				offset, metadata := w.stored("g", 0)
				if offset != 5 || len(metadata) > c.limit {
					t.Errorf("stored offset %d with %d bytes of metadata, want 5 with at most %d", offset, len(metadata), c.limit)
				}
				if stored.Replays == 0 {
					t.Error("Stored reports that 20000 ranges fit")
				}
				if c.limit > 500 && len(metadata) < c.limit/4 {
					t.Errorf("%d bytes of metadata are used where %d are allowed", len(metadata), c.limit)
				}
				sent := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1})
				before := h.Hits()
				w.commit(ps[0], 6, ranges(20000)...)
				if n := h.Hits() - before; n != 0 {
					t.Errorf("the limit was not remembered: %d more refusals", n)
				}
				sent.Remove()
				w.close(s, ps)
			})
		})
	}
}

func TestCommitUsesALargerLimitWhereTheBrokerHasOne(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 1)
		for i := range int64(8) {
			w.commit(ps[0], i, ranges(20000)...)
		}
		if _, metadata := w.stored("g", 0); len(metadata) < 16000 || len(metadata) > 32767 {
			t.Errorf("%d bytes of metadata are stored, want more than 16000, and never more than an int16 can say", len(metadata))
		}
		w.close(s, ps)
	})
}

// The broker writes all offsets of a request as one batch.
func TestCommitOfTooManyPartitionsIsSplit(t *testing.T) {
	inWorld(t, 6, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 6)
		w.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: w.topic, Err: kerr.InvalidCommitOffsetSize, Count: -1,
			When: func(r kmsg.Request) bool {
				n := 0
				for _, p := range sentCommits(r) {
					n += len(*p.Metadata)
				}
				return n > 10000
			},
		})
		var all sync.WaitGroup
		for _, p := range ps {
			all.Go(func() { w.commit(p, 3, ranges(2000)...) })
		}
		all.Wait()
		for n := range int32(6) {
			if offset, metadata := w.stored("g", n); offset != 3 || metadata == "" {
				t.Errorf("partition %d: offset %d, %d bytes of metadata", n, offset, len(metadata))
			}
		}
		w.close(s, ps)
	})
}

func TestCommitRetriesPassingErrors(t *testing.T) {
	for _, e := range []*kerr.Error{
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.RebalanceInProgress,
		kerr.RequestTimedOut, kerr.UnknownTopicOrPartition, kerr.UnknownServerError,
	} {
		t.Run(e.Message, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				s := w.source("g")
				ps := w.accept(s, 1)
				w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: "t", Err: e, Count: 3})
				w.commit(ps[0], 8)
				if offset, _ := w.stored("g", 0); offset != 8 {
					t.Errorf("stored %d, want 8", offset)
				}
				synctest.Wait()
				if len(s.Report().Trouble) != 0 {
					t.Errorf("trouble remains: %+v", s.Report().Trouble)
				}
				w.close(s, ps)
			})
		})
	}
}

func TestFencedCommitLosesThePartitions(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.FencedInstanceID} {
		t.Run(e.Message, func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				t := w.t
				s := w.source("g")
				ps := w.accept(s, 2)
				w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: "t", Err: e, Count: 1})
				if _, err := ps[0].Commit(t.Context(), progress(ps[0], 8)); !errors.Is(err, commit.ErrFenced) {
					t.Errorf("commit = %v, want ErrFenced", err)
				}
				for _, p := range ps {
					for l := range p.Leaving() {
						if l.Lost {
							break
						}
					}
					w.release(p)
				}
				w.close(s, w.accept(s, 2))
			})
		})
	}
}

// I8: a generation that is over cannot commit, even if the source does not know it.
func TestStaleGenerationIsRefusedByTheBroker(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g", func(c *kafka.Config) { c.SessionTimeout = 6 * time.Second; c.RebalanceTimeout = 6 * time.Second })
		ps := w.accept(a, 1)
		w.commit(ps[0], 1)
		// Another client removes the member from the group, and another member joins.
		member := a.Report().Member
		cl := w.client()
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.Version = "g", 3
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = member
		req.Members = append(req.Members, m)
		if _, err := req.RequestWith(t.Context(), cl); err != nil {
			t.Fatal(err)
		}
		cl.Close()
		b := w.source("g")
		bs := w.accept(b, 1)
		w.commit(bs[0], 5)
		if _, err := ps[0].Commit(t.Context(), progress(ps[0], 2)); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit of the old owner = %v, want ErrFenced", err)
		}
		if offset, _ := w.stored("g", 0); offset != 5 {
			t.Errorf("committed = %d, want 5: the old owner's commit was stored", offset)
		}
		w.release(ps[0])
		go func() {
			<-bs[0].Leaving()
			_ = bs[0].Release(context.Background())
		}()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		_ = b.Close()
	})
}

func TestCommitNeverGoesBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 1)
		w.commit(ps[0], 8)
		if _, err := ps[0].Commit(t.Context(), progress(ps[0], 7)); err == nil || !strings.Contains(err.Error(), "t/0") {
			t.Errorf("commit below the last = %v, want an error that names the partition", err)
		}
		if offset, _ := w.stored("g", 0); offset != 8 {
			t.Errorf("stored %d, want 8", offset)
		}
		w.close(s, ps)
	})
}

// A commit with a lost reply is retried until its outcome is known; no newer commit is sent before.
func TestCommitWithALostReplyIsSentAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 1)
		var mu sync.Mutex
		var offsets []int64
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			defer mu.Unlock()
			w.cluster.KeepControl()
			offsets = append(offsets, sentCommits(r)[0].Offset)
			if len(offsets) < 15 { // more than are sent again at once
				return nil, errors.New("cut"), true // closes the connection
			}
			return nil, nil, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := ps[0].Commit(ctx, progress(ps[0], 4)); err == nil {
			t.Error("a commit without a reply succeeded")
		}
		w.commit(ps[0], 9)
		if offset, _ := w.stored("g", 0); offset != 9 {
			t.Errorf("stored %d, want 9", offset)
		}
		mu.Lock()
		defer mu.Unlock()
		for i := 1; i < len(offsets); i++ {
			if offsets[i] < offsets[i-1] {
				t.Errorf("sent %v: a commit went back", offsets)
			}
		}
		w.close(s, ps)
	})
}
