package pulsar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// churn runs members that join, leave and crash at random, with every fault of the broker.
type churn struct {
	t   *testing.T
	b   *fakeBroker
	cfg Config

	mu     sync.Mutex
	rand   *rand.Rand
	events map[string][]int // numbers handled, by key
}

func (c *churn) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

// handle records one message. It checks that its key goes on in order, or is replayed from further back.
func (c *churn) handle(m *keystrand.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := strconv.Atoi(string(m.Value))
	if err != nil {
		c.t.Error(err)
	}
	key, last := string(m.Key), -1
	if all := c.events[key]; len(all) > 0 {
		last = all[len(all)-1]
	}
	if n > last+1 {
		c.t.Errorf("key %s: %d after %d", key, n, last)
	}
	c.events[key] = append(c.events[key], n)
}

// churner is a member that handles the messages of its partitions.
type churner struct {
	c      *churn
	m      *member
	ctx    context.Context
	stop   context.CancelFunc
	dead   context.Context // ends with a crash
	kill   context.CancelFunc
	owning sync.WaitGroup
}

func (c *churn) join() *churner {
	s, cl, err := c.b.source(c.cfg, "orders")
	if err != nil {
		c.t.Fatal(err)
	}
	w := &churner{c: c, m: &member{t: c.t, s: s, c: cl}}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.dead, w.kill = context.WithCancel(context.Background())
	w.owning.Go(func() {
		for {
			p, err := s.Accept(w.ctx)
			if err != nil {
				if w.ctx.Err() == nil {
					c.t.Errorf("accept: %v", err)
				}
				s.Stop()
				return
			}
			w.owning.Go(func() { w.own(p) })
		}
	})
	return w
}

func (w *churner) own(p source.Partition) {
	var (
		open    []keystrand.Message // fetched, not settled
		settled []int64
	)
	restored, asked := p.Restored(), false
	next := restored.Frontier
	for w.dead.Err() == nil {
		if !asked && w.ctx.Err() == nil {
			ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
			b := source.Batch{MaxMessages: 1 + w.c.n(6), MaxBytes: 1 << 20}
			if err := p.Fetch(ctx, &b); err == nil {
				next = b.Next
				for _, m := range b.Messages {
					if restored.Settled(m.Offset) {
						settled = append(settled, m.Offset)
					} else {
						open = append(open, m)
					}
				}
			} else if !errors.Is(err, source.ErrLeaving) && ctx.Err() == nil {
				w.c.t.Errorf("fetch: %v", err)
			}
			cancel()
		}
		// Both values may be pending: the next owner may have the partition already.
		for heard := true; heard; {
			select {
			case l := <-p.Leaving():
				if l.Lost {
					_ = p.Release(context.Background())
					return
				}
				asked = true
			default:
				heard = false
			}
		}
		// Settle a few, each the first of its key.
		for range w.c.n(5) {
			if len(open) == 0 {
				break
			}
			at, i := string(open[w.c.n(len(open))].Key), 0
			for string(open[i].Key) != at {
				i++
			}
			if w.dead.Err() != nil {
				break
			}
			w.c.handle(&open[i])
			settled = append(settled, open[i].Offset)
			open = append(open[:i:i], open[i+1:]...)
		}
		if w.dead.Err() == nil && (w.c.n(3) == 0 || asked) {
			ctx, cancel := context.WithTimeout(w.dead, time.Duration(1+w.c.n(3000))*time.Millisecond)
			_, err := p.Commit(ctx, progress(p, open, settled, next))
			if err != nil && !errors.Is(err, commit.ErrFenced) && ctx.Err() == nil {
				w.c.t.Errorf("commit: %v", err)
			}
			cancel()
		}
		if asked && w.c.n(2) == 0 || w.ctx.Err() != nil && w.c.n(3) == 0 {
			break
		}
	}
	_ = p.Release(context.Background())
}

// progress is the snapshot of a tracker.
func progress(p source.Partition, open []keystrand.Message, settled []int64, next int64) *commit.Progress {
	pr := &commit.Progress{Epoch: p.ID().Epoch, Frontier: next}
	for i := range open {
		pr.Frontier = min(pr.Frontier, open[i].Offset)
	}
	settled = slices.Clone(settled)
	slices.Sort(settled)
	for _, o := range settled {
		switch n := len(pr.Ahead); {
		case o < pr.Frontier:
		case n > 0 && pr.Ahead[n-1].To == o:
			pr.Ahead[n-1].To++
		default:
			pr.Ahead = append(pr.Ahead, commit.Range{From: o, To: o + 1})
		}
	}
	return pr
}

// leave stops the member, or crashes it.
func (w *churner) leave(crash bool) {
	if crash {
		w.kill()
		w.m.c.crash()
	}
	w.stop()
	w.owning.Wait()
	w.kill()
	_ = w.m.s.Close()
}

func TestChurnKeepsOrderAndLosesNothing(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for seed := range uint64(40) {
			t.Run(fmt.Sprintf("stored=%t/seed=%d", stored, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { churnOnce(t, seed, stored) })
			})
		}
	}
}

func churnOnce(t *testing.T, seed uint64, stored bool) {
	t.Helper()
	const partitions, keys, total = 2, 4, 150
	b := newFakeBroker()
	b.create("orders", partitions)
	c := &churn{t: t, b: b, rand: rand.New(rand.NewPCG(seed, 1)), events: make(map[string][]int)}
	if stored {
		c.cfg.Store = newMemStore()
	}
	faulty := true // guarded by the broker's mu
	b.fault = func() ackFault {
		if !faulty || c.n(4) > 0 {
			return noFault
		}
		return []ackFault{notStored, storedUnanswered}[c.n(2)]
	}
	members := []*churner{c.join()}
	sent := make(map[string]int)
	produced := 0
	for produced < total {
		p := c.n(partitions)
		topic := fmt.Sprintf("orders-partition-%d", p)
		switch c.n(12) {
		case 0:
			members = append(members, c.join())
		case 1:
			if len(members) > 1 {
				i := c.n(len(members))
				members[i].leave(c.n(2) == 0)
				members = append(members[:i:i], members[i+1:]...)
			}
		case 2:
			b.cut(topic, "")
		case 3: // a broker is killed, and forgets
			b.forget(c.n(4), 1700*time.Millisecond)
			for n := range partitions {
				b.cut(fmt.Sprintf("orders-partition-%d", n), "")
			}
		case 4: // a candidate alone is disconnected, and election messages are lost
			b.change(func() { b.dropped = c.n(4) })
			if all := b.candidatesOf(topic); len(all) > 0 {
				f := all[c.n(len(all))]
				b.away(f)
				time.Sleep(time.Duration(c.n(3000)) * time.Millisecond)
				b.back(f)
			}
		default:
			var batch []keystrand.Message
			for range 1 + c.n(4) {
				key := fmt.Sprintf("%d/%d", p, c.n(keys))
				batch = append(batch, keystrand.Message{Key: []byte(key), Value: fmt.Append(nil, sent[key])})
				sent[key]++
				produced++
			}
			b.produce(topic, batch...)
		}
		time.Sleep(time.Duration(c.n(1500)) * time.Millisecond)
	}
	// Calm: everything is handled in the end.
	b.change(func() { faulty = false })
	for i := 0; i < 600 && len(b.unacked("orders-partition-0"))+len(b.unacked("orders-partition-1")) > 0; i++ {
		time.Sleep(time.Second)
	}
	for n := range partitions {
		if left := b.unacked(fmt.Sprintf("orders-partition-%d", n)); len(left) > 0 {
			t.Errorf("not acknowledged in the end: %v of partition %d", left, n)
		}
	}
	for _, m := range members {
		m.leave(false)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range sent {
		all := c.events[key]
		if len(all) == 0 || all[len(all)-1] != n-1 {
			t.Errorf("key %s: handled %v, want it to end with %d", key, all, n-1)
		}
	}
}
