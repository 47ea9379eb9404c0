// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Close must not wait for the drain of other members, nor for the answer to a join.
func TestCloseEndsAJoinThatWaitsForOthers(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 2)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if p, err := b.Accept(ctx); err == nil {
			t.Fatalf("accepted %v", p.ID())
		}
		began := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("Close took %v while another member drains", d)
		}
		if n := len(w.cluster.GroupInfo("g").Members); n != 1 {
			t.Errorf("the group has %d members, want 1: the closed member would own partitions", n)
		}
		w.follow(ps)
		w.close(a, w.accept(a, 2))
	})
}

func TestCloseOfAMemberThatRejoinsLeavesTheGroup(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		c := w.source("g")
		go func() { _, _ = c.Accept(t.Context()) }()
		w.follow(as) // a joins again and waits for b, which drains
		began := time.Now()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("Close took %v while another member drains", d)
		}
		if n := len(w.cluster.GroupInfo("g").Members); n != 2 {
			t.Errorf("the group has %d members, want 2: the one that closed has left", n)
		}
		w.follow(bs)
		w.close(b, w.accept(b, 1))
		_ = c.Close()
	})
}

// A closed member must not join again: neither the library, if its generation ends before it hears of Close, nor the source,
// if it learns the topics in that moment.
func TestCloseLeavesTheGroupWithoutJoiningAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		for i := range 20 { // the scheduler decides which event comes first
			a := w.source("g")
			ps := w.accept(a, 1)
			joins := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Observe: true, Count: -1})
			w.close(a, ps)
			time.Sleep(10 * time.Second)
			if n := joins.Hits(); n != 0 {
				t.Fatalf("member %d joined %d times after Close", i, n)
			}
			joins.Remove()
		}
	})
}
