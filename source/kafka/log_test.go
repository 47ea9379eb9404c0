// Virtual time: every test here makes a bubble, by inWorld.

package kafka_test

import (
	"testing"
	"time"

	"github.com/keystrand/keystrand/source/kafka"
)

// One line tells each step of a membership, however many partitions there are.
func TestLogTellsTheStepsOfAMembership(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		t := w.t
		wants := func(n int, parts ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := w.told.times(parts...); got != n {
				t.Errorf("%d lines have %q, want %d", got, parts, n)
			}
		}
		named := func(name string) func(*kafka.Config) { return func(c *kafka.Config) { c.ClientID = name } }
		a := w.source("g", named("a"))
		ps := w.accept(a, 3)
		wants(1, "kafka: connected", "group=g", "topics=[t]")
		wants(1, "kafka: joined group", "members=1", "generation=1", "partitions=3", "assigned=t[0-2]")

		b := w.source("g", named("b"))
		got := w.join(b, 1)
		<-ps[0].Leaving()
		wants(1, "kafka: rebalancing", `cause="joined: b-`, "at_most=1m0s")
		time.Sleep(5 * time.Second) // a drains
		wants(1, "kafka: waiting for the group", "waited=3s", "at_most=1m0s", "session_timeout=30s")
		for _, p := range ps {
			w.release(p)
		}
		as, bs := w.accept(a, 2), <-got
		wants(2, "kafka: joined group", "members=2", "generation=2")

		c := w.source("g", named("c"))
		cs := w.join(c, 1)
		w.follow(as)
		w.follow(bs)
		as, bs = w.accept(a, 1), w.accept(b, 1)
		third := <-cs // before d joins: else d may get the partition
		d := w.source("g", named("d"))
		go func() { _, _ = d.Accept(t.Context()) }()
		w.follow(as)
		w.follow(bs)
		w.follow(third)
		as, bs = w.accept(a, 1), w.accept(b, 1)
		wants(1, "kafka: joined group; standing by without partitions", "members=4", "partitions=0")
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		wants(1, "kafka: left group", "member=d-")
		_ = c.Close()
		w.follow(as)
		wants(2, "kafka: rebalancing", `cause="left or timed out: `, "d-")
		w.close(a, nil)
		w.close(b, bs)
	})
}

// A member that crashes and starts again stops the group until its old session times out. The log says so.
func TestCrashedMemberIsWaitedForAndTheLogSaysHowLong(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		a := w.source("g")
		line := &cable{dial: w.dial}
		crashed := w.source("g", func(c *kafka.Config) { c.Dial = line.connect })
		as := w.accept(a, 2)
		got := w.join(crashed, 1)
		w.follow(as)
		as = w.accept(a, 1)
		dead := <-got
		line.cut()
		b := w.source("g") // the same program, started again
		joined := w.join(b, 1)
		w.follow(as)
		began := time.Now()
		as = w.accept(a, 1)
		if d := time.Since(began); d < 20*time.Second || d > 31*time.Second {
			t.Errorf("the group stood for %v, the session is 30s", d)
		}
		if n := w.told.times("kafka: waiting for the group", "one has crashed", "session_timeout=30s"); n == 0 {
			t.Error("the log does not say what the group waits for")
		}
		line.mend()
		w.follow(dead)
		_ = crashed.Close()
		time.Sleep(time.Second)
		for _, p := range as {
			w.release(p)
		}
		for _, p := range <-joined {
			w.release(p)
		}
		_ = a.Close()
		_ = b.Close()
	})
}
