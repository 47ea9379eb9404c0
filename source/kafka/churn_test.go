package kafka_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// Virtual time: everything here runs in inWorld, which is a bubble.

var churnSeed = flag.Uint64("churn.seed", 0, "replay the random churn of a failed test")

// ledger is what all members together have done: the oracle of the churn.
type ledger struct {
	mu      sync.Mutex
	owner   map[int32]holder           // not released or lost yet
	epoch   map[int32]int64            // the largest seen
	settled map[int32]map[int64]bool   // ever
	stored  map[int32]*commit.Progress // by the last Commit
	t       *testing.T
}

type holder struct {
	id source.ID
	s  *kafka.Source
}

// lost reports whether the ownership was lost or released.
func (h holder) lost() bool {
	return h.s.Lost(h.id)
}

// begins checks an ownership against everything before.
func (l *ledger) begins(s *kafka.Source, p source.Partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, r := p.ID(), p.Restored()
	if other, owned := l.owner[id.Partition]; owned && !other.lost() {
		l.t.Errorf("%v is accepted while %v is neither released nor lost", id, other.id)
	}
	if id.Epoch <= l.epoch[id.Partition] {
		l.t.Errorf("%v is accepted after epoch %d", id, l.epoch[id.Partition])
	}
	if last := l.stored[id.Partition]; last != nil {
		for o := range int64(2000) {
			if last.Settled(o) && !r.Settled(o) {
				l.t.Errorf("%v: message %d was stored as settled, and is redelivered", id, o)
				break
			}
		}
	}
	for o := range int64(2000) {
		if r.Settled(o) && !l.settled[id.Partition][o] {
			l.t.Errorf("%v: message %d is restored as settled, and never was", id, o)
			break
		}
	}
	l.owner[id.Partition], l.epoch[id.Partition] = holder{id, s}, id.Epoch
}

func (l *ledger) ends(id source.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner[id.Partition].id == id {
		delete(l.owner, id.Partition)
	}
}

func (l *ledger) settle(id source.ID, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled[id.Partition][offset] = true
}

func (l *ledger) store(id source.ID, p *commit.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch[id.Partition] == id.Epoch {
		l.stored[id.Partition] = p
	}
}

// run is a small pipeline for one partition: it settles messages in random order around a frontier, commits at
// random, and releases the partition when it leaves.
func (l *ledger) run(ctx context.Context, p source.Partition, rnd *rand.Rand) {
	defer func() {
		l.ends(p.ID())
		_ = p.Release(context.WithoutCancel(ctx))
	}()
	tracker := commit.NewTracker(p.Restored())
	var pending []int64
	save := func() {
		progress := tracker.Progress()
		if _, err := p.Commit(ctx, progress); err == nil {
			l.store(p.ID(), progress)
		} else if errors.Is(err, commit.ErrFenced) {
			l.ends(p.ID())
		}
	}
	settle := func(n int) {
		for ; n > 0 && len(pending) > 0; n-- {
			i := rnd.IntN(len(pending))
			number := pending[i]
			pending[i] = pending[len(pending)-1]
			pending = pending[:len(pending)-1]
			offset, _ := tracker.Offset(number)
			l.settle(p.ID(), offset)
			if err := tracker.Settle([]int64{number}); err != nil {
				l.t.Error(err)
			}
		}
	}
	for {
		select {
		case leave := <-p.Leaving():
			if leave.Lost {
				l.ends(p.ID())
				return
			}
			time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
			select {
			case <-p.Leaving():
				l.ends(p.ID())
				return
			default:
			}
			settle(rnd.IntN(20))
			save()
			return
		case <-ctx.Done():
			return
		default:
		}
		b := &source.Batch{MaxMessages: 1 + rnd.IntN(30), MaxBytes: 1 << 20}
		fetching, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		err := p.Fetch(fetching, b)
		cancel()
		if err == nil {
			var offsets []int64
			for _, m := range b.Messages {
				offsets = append(offsets, m.Offset)
			}
			first, done, err := tracker.Track(offsets, b.Next)
			if err != nil {
				l.t.Error(err)
			}
			for i := range offsets {
				if done == nil || !done[i] {
					pending = append(pending, first+int64(i))
				}
			}
		}
		settle(rnd.IntN(25))
		if rnd.IntN(3) == 0 {
			save()
		}
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
	}
}

// Twenty joins and leaves at random, with faults of the coordinator: at every hand-over the new owner restores exactly the
// stored progress of the old one, epochs grow, and no partition has two owners.
func TestRandomJoinsAndLeavesLoseNothing(t *testing.T) { // I3, I7, I8
	seed := *churnSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -churn.seed=%d", seed)
	inWorld(t, 5, func(w *world) {
		t := w.t
		rnd := rand.New(rand.NewPCG(seed, 1))
		l := &ledger{
			t: t, owner: make(map[int32]holder), epoch: make(map[int32]int64),
			settled: make(map[int32]map[int64]bool), stored: make(map[int32]*commit.Progress),
		}
		for n := range int32(5) {
			l.settled[n] = make(map[int64]bool)
			w.produce(n, 100)
		}
		// I8: all commits of an epoch are sent by the generation that owned it. A refused claim makes no owner, and another
		// generation may claim the same epoch: the owner has sent more than the claim.
		type senders struct {
			sent  map[string]int
			owner string
		}
		epochs := make(map[string]*senders) // of the cluster's goroutine
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
			req, ok := r.(*kmsg.OffsetCommitRequest)
			if !ok {
				return false
			}
			for _, p := range sentCommits(r) {
				progress, err := commit.Decode(*p.Metadata)
				if err != nil {
					t.Errorf("partition %d: %v", p.Partition, err)
					continue
				}
				epoch, by := fmt.Sprint(p.Partition, "#", progress.Epoch), fmt.Sprint(req.MemberID, "/", req.Generation)
				e := epochs[epoch]
				if e == nil {
					e = &senders{sent: make(map[string]int)}
					epochs[epoch] = e
				}
				if e.owner != "" && e.owner != by {
					t.Errorf("epoch %s is committed by %s and by %s", epoch, e.owner, by)
				}
				if e.sent[by]++; e.sent[by] > 1 {
					e.owner = by
				}
			}
			return false
		}})
		type member struct {
			s       *kafka.Source
			cancel  context.CancelFunc
			running *sync.WaitGroup
		}
		var members []member
		start := func() {
			s := w.source("g", func(c *kafka.Config) { c.SessionTimeout, c.RebalanceTimeout = 6*time.Second, 15*time.Second })
			ctx, cancel := context.WithCancel(t.Context())
			m := member{s, cancel, &sync.WaitGroup{}}
			own := rand.New(rand.NewPCG(seed, rnd.Uint64()))
			m.running.Go(func() {
				for {
					p, err := s.Accept(ctx)
					if err != nil {
						if ctx.Err() == nil {
							t.Errorf("Accept: %v", err)
						}
						return
					}
					l.begins(s, p)
					each := rand.New(rand.NewPCG(own.Uint64(), 2))
					m.running.Go(func() { l.run(ctx, p, each) })
				}
			})
			members = append(members, m)
		}
		stop := func(i int) {
			m := members[i]
			members = append(members[:i:i], members[i+1:]...)
			m.cancel()
			m.running.Wait()
			if err := m.s.Close(); err != nil {
				t.Error(err)
			}
		}
		start()
		faults := []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownMemberID, kerr.RebalanceInProgress}
		keys := []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.JoinGroup}
		for range 20 {
			switch {
			case len(members) < 2 || len(members) < 5 && rnd.IntN(2) == 0:
				start()
			default:
				stop(rnd.IntN(len(members)))
			}
			if rnd.IntN(2) == 0 {
				w.cluster.Fault(kfake.Fault{
					Keys: []kmsg.Key{keys[rnd.IntN(len(keys))]}, Err: faults[rnd.IntN(len(faults))], Count: 1 + rnd.IntN(3),
				})
			}
			w.produce(int32(rnd.IntN(5)), rnd.IntN(10))
			time.Sleep(time.Duration(rnd.IntN(20000)) * time.Millisecond)
		}
		for len(members) > 0 {
			stop(0)
		}
	})
}
