package kafka_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/kafka/assign"
)

type ownStrategy struct {
	plan func([]assign.Member, []assign.Partition) assign.Plan
}

func (ownStrategy) Name() string { return "own" }
func (o ownStrategy) Plan(m []assign.Member, p []assign.Partition) assign.Plan {
	return o.plan(m, p)
}

// Each member reads exactly the partitions of the plan. Plan gets the members in the order of their ids.
func TestMembersReadThePartitionsOfThePlan(t *testing.T) { // seed 39
	for _, c := range []struct {
		strategy assign.Strategy
		want     [][]int32 // by member
	}{
		{assign.Range(), [][]int32{{0, 1, 2}, {3, 4}, {5, 6}}},
		{assign.RoundRobin(), [][]int32{{0, 3, 6}, {1, 4}, {2, 5}}},
		{ownStrategy{firstPartitionAlone}, [][]int32{{0}, {1, 3, 5}, {2, 4, 6}}},
	} {
		t.Run(c.strategy.Name(), func(t *testing.T) {
			inWorld(t, 7, func(w *world) {
				t := w.t
				var members []*kafka.Source
				for range 3 { // one by one: a sticky plan would differ
					s := w.source("g", func(cfg *kafka.Config) { cfg.Strategy = c.strategy })
					members = append(members, s)
					go w.holdAndFollow(s)
					time.Sleep(30 * time.Second)
				}
				synctest.Wait()
				slices.SortFunc(members, func(a, b *kafka.Source) int {
					return strings.Compare(a.Report().Member, b.Report().Member)
				})
				for i, s := range members {
					var has []int32
					for _, p := range s.Held() {
						has = append(has, p.Partition)
					}
					if !slices.Equal(has, c.want[i]) {
						t.Errorf("member %d has partitions %v, want %v", i, has, c.want[i])
					}
				}
				for _, s := range members {
					_ = s.Close() // its partitions are held
				}
			})
		})
	}
}

// firstPartitionAlone is a strategy for a hot partition 0: the first member gets only this one.
func firstPartitionAlone(members []assign.Member, partitions []assign.Partition) assign.Plan {
	if len(members) == 1 {
		return assign.Plan{members[0].ID: partitions}
	}
	plan := assign.RoundRobin().Plan(members[1:], partitions[1:])
	plan[members[0].ID] = partitions[:1]
	return plan
}

// holdAndFollow accepts all partitions and releases them when they leave, until Close.
func (w *world) holdAndFollow(s *kafka.Source) {
	for {
		p, err := s.Accept(w.t.Context())
		if err != nil {
			return
		}
		go func() {
			<-p.Leaving()
			w.release(p)
		}()
	}
}

// A join moves only the partitions that balance requires, a leave moves none of the remaining members.
func TestStickyMemberKeepsThePartitionsThatBalanceAllows(t *testing.T) { // seed 39
	inWorld(t, 12, func(w *world) {
		a, b, c := w.source("g"), w.source("g"), w.source("g")
		ps := w.accept(a, 12)
		got := w.join(b, 6)
		w.follow(ps)
		as, bs := w.accept(a, 6), <-got
		w.sharedOut(as, bs)

		got = w.join(c, 4)
		w.follow(as)
		w.follow(bs)
		as2, bs2, cs := w.accept(a, 4), w.accept(b, 4), <-got
		w.sharedOut(as2, bs2, cs)
		w.wantsKept(as, as2, 4)
		w.wantsKept(bs, bs2, 4)

		w.close(c, cs)
		w.follow(as2)
		w.follow(bs2)
		as3, bs3 := w.accept(a, 6), w.accept(b, 6)
		w.sharedOut(as3, bs3)
		w.wantsKept(as2, as3, 4)
		w.wantsKept(bs2, bs3, 4)
		w.close(a, as3)
		w.close(b, bs3)
	})
}

// sharedOut checks that each of the 12 partitions has one owner.
func (w *world) sharedOut(members ...map[int32]source.Partition) {
	w.t.Helper()
	all := make(map[int32]source.Partition)
	for _, ps := range members {
		maps.Copy(all, ps)
	}
	if len(all) != 12 {
		w.t.Errorf("the members have partitions %v, want each of 12 once", slices.Sorted(maps.Keys(all)))
	}
}

// wantsKept checks how many of its own partitions a member has after a rebalance.
func (w *world) wantsKept(before, after map[int32]source.Partition, want int) {
	w.t.Helper()
	kept := 0
	for n := range after {
		if before[n] != nil {
			kept++
		}
	}
	if kept != want {
		w.t.Errorf("of its partitions %v a member kept %d among %v, want %d", slices.Sorted(maps.Keys(before)), kept,
			slices.Sorted(maps.Keys(after)), want)
	}
}

func TestStrategyThatBreaksTheRulesIsNamed(t *testing.T) { // seed 39
	for name, plan := range map[string]func([]assign.Member, []assign.Partition) assign.Plan{
		"forgets a partition": func([]assign.Member, []assign.Partition) assign.Plan { return nil },
		"panics":              func([]assign.Member, []assign.Partition) assign.Plan { panic("no plan") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				s := w.source("g", func(c *kafka.Config) { c.Strategy = ownStrategy{plan} })
				w.wantsErr(s, "strategy own")
			})
		})
	}
}

// A group changes its strategy member by member.
func TestMembersWithDifferentStrategiesAgree(t *testing.T) { // seed 39
	inWorld(t, 4, func(w *world) {
		a := w.source("g", func(c *kafka.Config) { c.Strategy = assign.Range() })
		b := w.source("g", func(c *kafka.Config) { c.Strategy = assign.RoundRobin() })
		ps := w.accept(a, 4)
		got := w.join(b, 2)
		w.follow(ps)
		as := w.accept(a, 2)
		bs := <-got
		w.close(a, as)
		w.close(b, bs)
	})
}
