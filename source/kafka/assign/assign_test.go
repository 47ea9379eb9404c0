package assign_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/source/kafka/assign"
)

func partitions(topic string, n int) []assign.Partition {
	ps := make([]assign.Partition, n)
	for i := range ps {
		ps[i] = assign.Partition{Topic: topic, Number: int32(i)}
	}
	return ps
}

func members(topics []string, ids ...string) []assign.Member {
	ms := make([]assign.Member, len(ids))
	for i, id := range ids {
		ms[i] = assign.Member{ID: id, Topics: topics}
	}
	return ms
}

func text(p assign.Plan) string {
	s := ""
	for _, id := range slices.Sorted(maps.Keys(p)) {
		s += id + "="
		for _, tp := range p[id] {
			s += fmt.Sprintf("%s%d ", tp.Topic, tp.Number)
		}
	}
	return s
}

// seed 39
func TestRangeGivesNeighboursAndTheRestToTheFirst(t *testing.T) {
	ps := append(partitions("a", 5), partitions("b", 3)...)
	got := text(assign.Range().Plan(members([]string{"a", "b"}, "x", "y"), ps))
	if want := "x=a0 a1 a2 b0 b1 y=a3 a4 b2 "; got != want {
		t.Errorf("plan = %q, want %q", got, want)
	}
}

// seed 39
func TestRoundRobinDealsInTurn(t *testing.T) {
	ps := append(partitions("a", 3), partitions("b", 3)...)
	got := text(assign.RoundRobin().Plan(members([]string{"a", "b"}, "x", "y"), ps))
	if want := "x=a0 a2 b1 y=a1 b0 b2 "; got != want {
		t.Errorf("plan = %q, want %q", got, want)
	}
}

func claim(ms []assign.Member, p assign.Plan, generation int32) {
	for i := range ms {
		ms[i].Claims = assign.Claims{Generation: generation, Owned: p[ms[i].ID]}
	}
}

// seed 39
func TestStickyMovesOnlyWhatBalanceNeeds(t *testing.T) {
	ps := partitions("t", 8)
	two := members([]string{"t"}, "a", "b")
	first := assign.Sticky().Plan(two, ps)
	claim(two, first, 1)
	three := append(two, members([]string{"t"}, "c")...)
	second := assign.Sticky().Plan(three, ps)
	if n := moved(three, second); n != 2 {
		t.Errorf("%d partitions were taken from a member that stays, want 2: %s after %s", n, text(second), text(first))
	}
	if len(second["c"]) != 2 {
		t.Errorf("the new member got %d partitions, want 2", len(second["c"]))
	}
	claim(three, second, 2)
	third := assign.Sticky().Plan(three[:2], ps)
	if n := moved(three[:2], third); n != 0 {
		t.Errorf("%d partitions moved between remaining members when one left, want 0", n)
	}
}

// A member that was away for a generation still claims what others got meanwhile.
func TestStickyBelievesTheNewestClaim(t *testing.T) {
	ps := partitions("t", 4)
	ms := members([]string{"t"}, "back", "other")
	ms[0].Claims = assign.Claims{Generation: 3, Owned: ps}
	ms[1].Claims = assign.Claims{Generation: 5, Owned: ps[2:]}
	plan := assign.Sticky().Plan(ms, ps)
	if !slices.Equal(plan["other"], ps[2:]) {
		t.Errorf("plan = %s, want t2 and t3 with other", text(plan))
	}
}

func TestStickyEvensOutTopics(t *testing.T) {
	ps := append(partitions("hot", 4), partitions("z", 4)...)
	ms := members([]string{"hot", "z"}, "a", "b")
	ms[0].Claims = assign.Claims{Generation: 1, Owned: ps}
	plan := assign.Sticky().Plan(ms, ps)
	n := 0
	for _, tp := range plan["a"] {
		if tp.Topic == "hot" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("a keeps %d of the topic hot, want 2: %s", n, text(plan))
	}
}

// A million messages for four members are 250,000 each. A strategy balances partitions, so it balances messages only if the
// partitions are equally full. No strategy helps against a partition that is far fuller than others (keyed traffic, one large
// topic), or against members without a partition.
//
// seeds 28, 39, 40
func TestBalanceInMessagesIsThatOfPartitionsWhileTheyAreEquallyFull(t *testing.T) {
	const million = 1_000_000
	spread := func(topic string, n, messages int) map[assign.Partition]int {
		all := make(map[assign.Partition]int)
		for _, p := range partitions(topic, n) {
			all[p] = messages / n
		}
		return all
	}
	join := func(topics ...map[assign.Partition]int) map[assign.Partition]int {
		all := make(map[assign.Partition]int)
		for _, t := range topics {
			maps.Copy(all, t)
		}
		return all
	}
	five := join(spread("a", 5, million/4), spread("b", 5, million/4), spread("c", 5, million/4), spread("d", 5, million/4))
	hotKey := spread("t", 8, million/5)
	hotKey[assign.Partition{Topic: "t", Number: 3}] += million * 4 / 5
	even := map[string]int{"range": million / 4, "roundrobin": million / 4, "sticky": million / 4}
	for name, c := range map[string]struct {
		messages map[assign.Partition]int
		most     map[string]int // messages of the member that has most
	}{
		"equally full":                       {spread("t", 8, million), even},
		"the strategy: a rest in each topic": {five, map[string]int{"range": 400_000, "roundrobin": million / 4, "sticky": million / 4}},
		"keyed traffic: one key has 80 %":    {hotKey, map[string]int{"range": 850_000, "roundrobin": 850_000, "sticky": 850_000}},
		"one topic far larger":               {join(spread("large", 1, 900_000), spread("small", 7, 70_000)), map[string]int{"range": 920_000, "roundrobin": 910_000, "sticky": 910_000}},
		"more members than partitions":       {spread("t", 2, million), map[string]int{"range": million / 2, "roundrobin": million / 2, "sticky": million / 2}},
	} {
		for _, s := range []assign.Strategy{assign.Range(), assign.RoundRobin(), assign.Sticky()} {
			t.Run(name+"/"+s.Name(), func(t *testing.T) {
				ps := slices.SortedFunc(maps.Keys(c.messages), assign.Partition.Compare)
				topics := make(map[string]bool)
				for _, p := range ps {
					topics[p.Topic] = true
				}
				plan := s.Plan(members(slices.Sorted(maps.Keys(topics)), "a", "b", "c", "d"), ps)
				most := 0
				for _, mine := range plan {
					n := 0
					for _, p := range mine {
						n += c.messages[p]
					}
					most = max(most, n)
				}
				if most != c.most[s.Name()] {
					t.Errorf("one member has %d messages, want %d: %s", most, c.most[s.Name()], text(plan))
				}
			})
		}
	}
}

// moved counts the partitions that a member claimed and another one got.
func moved(ms []assign.Member, plan assign.Plan) int {
	owner := make(map[assign.Partition]string)
	for id, ps := range plan {
		for _, p := range ps {
			owner[p] = id
		}
	}
	n := 0
	for _, m := range ms {
		for _, p := range m.Claims.Owned {
			if owner[p] != m.ID {
				n++
			}
		}
	}
	return n
}

// seed 39
func TestEveryStrategyGivesEachPartitionToOneSubscriber(t *testing.T) {
	for _, s := range []assign.Strategy{assign.Range(), assign.RoundRobin(), assign.Sticky()} {
		t.Run(s.Name(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				topics := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "topics")]
				var ps []assign.Partition
				for _, topic := range topics {
					ps = append(ps, partitions(topic, rapid.IntRange(1, 9).Draw(t, "n"))...)
				}
				ms := make([]assign.Member, rapid.IntRange(1, 6).Draw(t, "members"))
				for i := range ms {
					ms[i] = assign.Member{
						ID:     fmt.Sprintf("m%d", i),
						Topics: rapid.SliceOfDistinct(rapid.SampledFrom(topics), rapid.ID).Draw(t, "subscribes"),
						Claims: assign.Claims{
							Generation: rapid.Int32Range(0, 3).Draw(t, "generation"),
							Owned:      rapid.SliceOfDistinct(rapid.SampledFrom(ps), rapid.ID).Draw(t, "claims"),
						},
					}
				}
				plan := s.Plan(ms, ps)
				if err := plan.Check(ms, ps); err != nil {
					t.Fatal(err)
				}
				if again := s.Plan(ms, ps); text(again) != text(plan) {
					t.Fatalf("planned again: %s, before: %s", text(again), text(plan))
				}
			})
		})
	}
}

// With equal subscriptions the fewest moves are known: each member must lose what it has above its share, and as many
// members as the remainder may keep one more.
func TestStickyIsBalancedWithTheFewestMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "partitions")
		ps := partitions("t", n)
		ms := members([]string{"t"}, []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(1, 5).Draw(t, "members")]...)
		for _, p := range ps {
			if i := rapid.IntRange(-1, len(ms)-1).Draw(t, "owner"); i >= 0 {
				ms[i].Claims.Owned = append(ms[i].Claims.Owned, p)
			}
		}
		plan := assign.Sticky().Plan(ms, ps)
		share, rest := n/len(ms), n%len(ms)
		want := 0
		for _, m := range ms {
			if got := len(plan[m.ID]); got < share || got > share+1 {
				t.Fatalf("%s gets %d of %d", m.ID, got, n)
			}
			over := len(m.Claims.Owned) - share
			if over > 0 && rest > 0 {
				over--
				rest--
			}
			want += max(over, 0)
		}
		if got := moved(ms, plan); got != want {
			t.Fatalf("%d moves, want %d: %s", got, want, text(plan))
		}
	})
}

func TestStickyPlansALargeGroupQuickly(t *testing.T) {
	ps := partitions("t", 5000)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("m%03d", i)
	}
	ms := members([]string{"t"}, ids...)
	ms[0].Claims.Owned = ps
	plan := assign.Sticky().Plan(ms, ps)
	if len(plan["m000"]) != 50 {
		t.Errorf("m000 keeps %d, want 50", len(plan["m000"]))
	}
}

func TestClaimsSurviveEncoding(t *testing.T) {
	c := assign.Claims{Generation: 7, Owned: append(partitions("orders", 3), partitions("é", 1)...)}
	got, err := assign.DecodeClaims(c.Encode())
	if err != nil || got.Generation != 7 || !slices.Equal(got.Owned, c.Owned) {
		t.Errorf("DecodeClaims = %v, %v; want %v", got, err, c)
	}
}

func FuzzDecodeClaimsNeverPanics(f *testing.F) {
	f.Add([]byte{})
	f.Add(assign.Claims{Generation: 1, Owned: partitions("t", 3)}.Encode())
	f.Add([]byte{1, 2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := assign.DecodeClaims(b)
		if err == nil && len(c.Owned) > len(b) {
			t.Errorf("%d claims out of %d bytes", len(c.Owned), len(b))
		}
	})
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	ms := members([]string{"t"}, "a", "b")
	ps := partitions("t", 3)
	err := assign.Plan{"a": {ps[0], ps[1]}, "b": {ps[1]}, "stranger": nil}.Check(ms, ps)
	if err == nil {
		t.Fatal("a plan that assigns t/1 twice and t/2 to no member passes")
	}
	t.Log(err)
}

func ExampleSticky() {
	ps := []assign.Partition{{"orders", 0}, {"orders", 1}, {"orders", 2}, {"orders", 3}}
	ms := []assign.Member{
		{ID: "old", Topics: []string{"orders"}, Claims: assign.Claims{Generation: 1, Owned: ps}},
		{ID: "new", Topics: []string{"orders"}},
	}
	assign.Sort(ms, ps)
	plan := assign.Sticky().Plan(ms, ps)
	fmt.Println("old:", plan["old"])
	fmt.Println("new:", plan["new"])
	// Output:
	// old: [{orders 2} {orders 3}]
	// new: [{orders 0} {orders 1}]
}
