package assign

// RoundRobin assigns the partitions of all topics to the members in turn, and skips members that do not subscribe. Counts
// differ by at most one if all members subscribe to the same topics. Most partitions move when a member joins or leaves.
func RoundRobin() Strategy { return roundRobin{} }

type roundRobin struct{}

func (roundRobin) Name() string { return "roundrobin" }

func (roundRobin) Plan(members []Member, partitions []Partition) Plan {
	plan := make(Plan, len(members))
	turn := 0
	for _, tp := range partitions {
		for range members {
			m := members[turn%len(members)]
			turn++
			if m.subscribes(tp.Topic) {
				plan[m.ID] = append(plan[m.ID], tp)
				break
			}
		}
	}
	return plan
}
