package assign

import "slices"

// Sticky keeps partitions with their members. The counts of any two members differ by at most one, as far as their
// subscriptions allow, and a partition moves only if balance requires it. Among equal choices it balances each topic, since
// one topic is often far busier than another: a member gives a partition of the topic of which it has most, and gets one of
// the topic of which it has least.
//
// Sticky reads the previous owners from the [Claims] of the members. After the loss of a whole group it plans as for new
// members.
func Sticky() Strategy { return sticky{} }

type sticky struct{}

func (sticky) Name() string { return "sticky" }

func (sticky) Plan(members []Member, partitions []Partition) Plan {
	b := newBoard(members)
	held := holders(members, partitions)
	for _, tp := range partitions {
		if m, ok := held[tp]; ok {
			b.give(m, tp)
		}
	}
	for _, tp := range partitions {
		if _, ok := held[tp]; ok {
			continue
		}
		if m := b.lightest(tp.Topic); m >= 0 {
			b.give(m, tp)
		}
	}
	b.level()
	plan := make(Plan, len(members))
	for i, m := range members {
		slices.SortFunc(b.has[i], Partition.Compare)
		plan[m.ID] = b.has[i]
	}
	return plan
}

// holders returns the previous owner of each partition that exists. If several members claim one, the claim of the newest
// generation wins: a member that was away still claims partitions that others owned since.
func holders(members []Member, partitions []Partition) map[Partition]int {
	exists := make(map[Partition]bool, len(partitions))
	for _, tp := range partitions {
		exists[tp] = true
	}
	held := make(map[Partition]int, len(partitions))
	for i, m := range members {
		for _, tp := range m.Claims.Owned {
			if !exists[tp] || !m.subscribes(tp.Topic) {
				continue
			}
			if j, taken := held[tp]; taken && members[j].Claims.Generation >= m.Claims.Generation {
				continue
			}
			held[tp] = i
		}
	}
	return held
}

// board is the state of a plan. Members are numbers.
type board struct {
	members []Member
	has     [][]Partition
	topics  []map[string]int // number of partitions by topic, for each member
}

func newBoard(members []Member) *board {
	b := &board{members: members, has: make([][]Partition, len(members)), topics: make([]map[string]int, len(members))}
	for i := range members {
		b.topics[i] = make(map[string]int)
	}
	return b
}

func (b *board) give(m int, tp Partition) {
	b.has[m] = append(b.has[m], tp)
	b.topics[m][tp.Topic]++
}

func (b *board) take(m, index int) Partition {
	tp := b.has[m][index]
	b.has[m] = slices.Delete(b.has[m], index, index+1)
	b.topics[m][tp.Topic]--
	return tp
}

// lightest returns the subscriber of the topic with the fewest partitions, among equal ones the one with the fewest of the
// topic; -1 if there is no subscriber.
func (b *board) lightest(topic string) int {
	best := -1
	for i, m := range b.members {
		if !m.subscribes(topic) {
			continue
		}
		if best < 0 || len(b.has[i]) < len(b.has[best]) ||
			len(b.has[i]) == len(b.has[best]) && b.topics[i][topic] < b.topics[best][topic] {
			best = i
		}
	}
	return best
}

// level moves partitions from members with many to members with few until no move helps. With equal subscriptions a move has
// one step. Otherwise it may need a chain: A gives to B, and B gives to C a partition that A does not have.
func (b *board) level() {
	order := make([]int, len(b.members))
	for i := range order {
		order[i] = i
	}
	for moved := true; moved; {
		moved = false
		slices.SortStableFunc(order, func(i, j int) int { return len(b.has[j]) - len(b.has[i]) })
		for _, heavy := range order {
			if chain := b.chain(heavy); chain != nil {
				for i := len(chain) - 1; i > 0; i-- {
					b.move(chain[i-1], chain[i])
				}
				moved = true
				break
			}
		}
	}
}

// chain returns the shortest way from the heavy member to one with at least two partitions fewer, among equally short ones
// the way to the lightest member; nil if there is none.
func (b *board) chain(heavy int) []int {
	came := make([]int, len(b.members))
	for i := range came {
		came[i] = -1
	}
	came[heavy] = heavy
	for ring := []int{heavy}; len(ring) > 0; {
		var next []int
		best := -1
		for _, from := range ring {
			for to := range b.members {
				if came[to] >= 0 || !b.canGive(from, to) {
					continue
				}
				came[to] = from
				next = append(next, to)
				if len(b.has[heavy])-len(b.has[to]) >= 2 && (best < 0 || len(b.has[to]) < len(b.has[best])) {
					best = to
				}
			}
		}
		if best >= 0 {
			way := []int{best}
			for best != heavy {
				best = came[best]
				way = append(way, best)
			}
			slices.Reverse(way)
			return way
		}
		ring = next
	}
	return nil
}

func (b *board) move(from, to int) { b.give(to, b.take(from, b.gift(from, to))) }

func (b *board) canGive(from, to int) bool {
	for topic, n := range b.topics[from] {
		if n > 0 && b.members[to].subscribes(topic) {
			return true
		}
	}
	return false
}

// gift returns the index of the best partition that from can give to to; canGive reports whether there is one. The best
// partition belongs to the topic with the widest margin between from and to. A partition that to owned before is preferred.
func (b *board) gift(from, to int) int {
	best, margin := -1, 0
	for i, tp := range b.has[from] {
		if !b.members[to].subscribes(tp.Topic) {
			continue
		}
		m := 2 * (b.topics[from][tp.Topic] - b.topics[to][tp.Topic])
		if slices.Contains(b.members[to].Claims.Owned, tp) {
			m++
		}
		if best < 0 || m > margin {
			best, margin = i, m
		}
	}
	return best
}
