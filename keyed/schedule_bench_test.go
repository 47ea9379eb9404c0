package keyed

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkNextLane compares schedulers without an executor, in simulated time, so that only their choices differ. One
// op is 12,000 messages whose keys follow Zipf(1), on 24 workers, 10 ms each. It reports:
//
//   - x-bound: the simulated time over max(work / workers, the hottest key's chain);
//
//   - ms-longest-wait: the longest wait of a ready lane;
//
//   - ns/message: the real time of choice and simulation.
//
//     go test -run '^$' -bench BenchmarkNextLane ./keyed
//
// The alternatives are as simple as possible and look at all ready lanes. Their ns/message shows the gain of O(1), not
// the cost of a heap.
func BenchmarkNextLane(b *testing.B) { // seeds 29, 30, 35
	for _, window := range []int{1000, zipfMessages} {
		for _, keys := range []int{100, 10_000} {
			plan, bound := zipfPlan(keys)
			for _, p := range zipfPolicies() {
				b.Run(fmt.Sprintf("window=%d/keys=%d/%s", window, keys, p.name), func(b *testing.B) {
					var took, wait time.Duration
					b.ReportAllocs()
					for b.Loop() {
						took, wait = replay(p.next(), window, plan)
					}
					b.ReportMetric(float64(took)/float64(bound), "x-bound")
					b.ReportMetric(float64(wait)/1e6, "ms-longest-wait")
					b.ReportMetric(float64(b.Elapsed())/float64(b.N)/zipfMessages, "ns/message")
				})
			}
		}
	}
}

// replay submits the plan, at most window messages ahead, and runs the lanes that next returns. All turns take equally
// long, so turns that began together end together. Their order is then random, as it is between real workers.
func replay(next scheduler[zipfItem], window int, plan []string) (took, wait time.Duration) {
	type turn struct {
		lane *lane[zipfItem]
		key  string
		end  time.Duration
	}
	lanes := make(map[string]*lane[zipfItem])
	nodes := make([]node[zipfItem], len(plan))
	turns := make([]turn, 0, len(plan))
	rnd := rand.New(rand.NewPCG(1, 1))
	submitted, together := 0, 0
	for ended := range plan {
		for ; submitted < min(ended+window, len(plan)); submitted++ {
			n := &nodes[submitted]
			n.item.offset = submitted
			l := lanes[plan[submitted]]
			fresh := l == nil
			if fresh {
				l = &lane[zipfItem]{}
				lanes[plan[submitted]] = l
			}
			l.push(n)
			l.count++
			switch {
			case fresh:
				next.push(l, milli(int64(took)))
			case l.class != 0:
				next.grew(l)
			}
		}
		for len(turns)-ended < zipfWorkers && next.len() > 0 {
			l, since := next.pop()
			wait = max(wait, took-time.Duration(since)*time.Millisecond)
			turns = append(turns, turn{l, plan[l.pop(1).item.offset], took + zipfTurn})
			l.count--
		}
		if ended == together {
			for together < len(turns) && turns[together].end == turns[ended].end {
				together++
			}
			group := turns[ended:together]
			rnd.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		}
		t := turns[ended]
		took = t.end
		if t.lane.waiting() == 0 {
			delete(lanes, t.key)
		} else {
			next.push(t.lane, milli(int64(took)))
		}
	}
	return took, wait
}
