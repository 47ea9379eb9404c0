// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// cable is a network that can be cut: later writes are lost without an error.
type cable struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	down chan struct{} // closed by mend; nil while the cable is whole
	dead []net.Conn    // cut connections: writes to them were lost
}

func (c *cable) connect(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	down := c.down
	c.mu.Unlock()
	if down != nil {
		select {
		case <-down:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	conn, err := c.dial(ctx, network, address)
	return &cabled{Conn: conn, cable: c}, err
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = make(chan struct{})
}

func (c *cable) mend() {
	c.mu.Lock()
	down, dead := c.down, c.dead
	c.down, c.dead = nil, nil
	c.mu.Unlock()
	close(down)
	for _, conn := range dead {
		_ = conn.Close()
	}
}

type cabled struct {
	net.Conn
	cable *cable
}

func (p *cabled) Write(b []byte) (int, error) {
	p.cable.mu.Lock()
	cut := p.cable.down != nil
	if cut {
		p.cable.dead = append(p.cable.dead, p.Conn)
	}
	p.cable.mu.Unlock()
	if cut {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// worker handles a partition as a pipeline does: messages one after the other, and a commit every second.
type worker struct {
	p       source.Partition
	handled int64            // messages below it are handled
	stored  *commit.Progress // by the last Commit
	lost    time.Time
}

func (k *worker) run(ctx context.Context) {
	committed := time.Now()
	b := &source.Batch{MaxMessages: 7, MaxBytes: 1 << 20}
	for {
		select {
		case l := <-k.p.Leaving():
			if l.Lost {
				k.lost = time.Now()
				return
			}
			continue // drain until it is lost
		default:
		}
		if k.p.Fetch(ctx, b) == nil {
			b.Messages, k.handled = b.Messages[:0], b.Next
		}
		if time.Since(committed) >= time.Second {
			committed = time.Now()
			saving, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			progress := progress(k.p, k.handled-2, commit.Range{From: k.handled - 1, To: k.handled})
			if _, err := k.p.Commit(saving, progress); err == nil {
				k.stored = progress
			}
			cancel()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A member that is cut off from the brokers under load loses its partitions before the broker assigns them to others. These
// start at the last stored progress: only messages handled since are redelivered. After the cut the broker stores no commit of
// the old member.
func TestMemberThatIsCutOffLosesItsPartitionsBeforeOthersGetThem(t *testing.T) {
	inWorld(t, 8, func(w *world) {
		t := w.t
		short := func(c *kafka.Config) { c.SessionTimeout, c.RebalanceTimeout = 6*time.Second, 15*time.Second }
		line := &cable{dial: w.dial}
		a, b := w.source("g", short, func(c *kafka.Config) { c.Dial = line.connect }), w.source("g", short)
		ps := w.accept(a, 8)
		got := w.join(b, 4)
		w.follow(ps)
		as, bs := w.accept(a, 4), <-got
		var working sync.WaitGroup
		workers := make(map[int32]*worker)
		for n, p := range as {
			w.produce(n, 1000)
			workers[n] = &worker{p: p}
			working.Go(func() { workers[n].run(t.Context()) })
		}
		time.Sleep(3500 * time.Millisecond)
		line.cut()
		cut := time.Now()
		w.follow(bs) // the broker starts a rebalance
		bs = w.accept(b, 8)
		taken := time.Now()
		if d := taken.Sub(cut); d < 3*time.Second || d > 8*time.Second {
			t.Errorf("the other member accepted the partitions %v after the cut, the session is 6s", d)
		}
		working.Wait()
		losses := a.Report().Losses
		if losses.Count != 4 || as[losses.Last.Partition] == nil || losses.At.After(taken) || losses.At.Before(cut) ||
			losses.Why != "the group continued without this member" {
			t.Errorf("losses = %+v, want 4, and the last with its time and reason", losses)
		}
		for n, k := range workers {
			if !k.lost.Before(taken) {
				t.Errorf("partition %d: lost after %v, accepted by another member after %v", n, k.lost.Sub(cut), taken.Sub(cut))
			}
			r := bs[n].Restored()
			if k.stored == nil || r.Frontier != k.stored.Frontier || len(r.Ahead) != 1 || r.Ahead[0] != k.stored.Ahead[0] {
				t.Errorf("partition %d: restored %+v, stored was %+v", n, r, k.stored)
			}
			since := k.lost.Sub(cut) + 1500*time.Millisecond // the last commit that was certainly sent whole
			if again := k.handled - r.Frontier; again <= 2 || again > int64(7*since/(100*time.Millisecond))+2 {
				t.Errorf("partition %d: %d messages of %v are redelivered", n, again, since)
			}
			w.release(k.p)
		}
		for n := range workers {
			w.commit(bs[n], 900)
		}
		line.mend()
		back := make(chan map[int32]source.Partition, 1)
		go func() { back <- w.accept(a, 4) }()
		w.follow(bs)
		bs = w.accept(b, 4)
		as = <-back
		for n, k := range workers {
			if _, err := k.p.Commit(t.Context(), progress(k.p, k.handled)); !errors.Is(err, commit.ErrFenced) {
				t.Errorf("commit of the member that was cut off = %v, want ErrFenced", err)
			}
			for _, all := range []map[int32]source.Partition{as, bs} {
				if p := all[n]; p != nil && p.Restored().Frontier != 900 {
					t.Errorf("%v starts at %d, want 900", p.ID(), p.Restored().Frontier)
				}
			}
		}
		w.close(a, as)
		w.close(b, bs)
	})
}
