package assign

import (
	"cmp"
	"slices"
	"strings"
)

// Partition is the name of a partition.
type Partition struct {
	Topic  string
	Number int32
}

// Compare orders partitions by topic, then by number.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(strings.Compare(p.Topic, q.Topic), cmp.Compare(p.Number, q.Number))
}

// Member is one member of a group as it described itself when it joined.
type Member struct {
	ID     string
	Topics []string
	// Claims has the partitions that the member owned before; empty for a new member.
	Claims Claims
}

// subscribes reports whether m subscribes to the topic.
func (m Member) subscribes(topic string) bool { return slices.Contains(m.Topics, topic) }

// Plan has the partitions of each member, by the member's ID. A member without partitions may be absent.
type Plan map[string][]Partition

// Strategy makes plans. Implementations are safe for concurrent use, most easily by having no state.
type Strategy interface {
	// Name identifies the strategy: the members of a group agree on one by name. Versions of a strategy with different
	// plans need different names.
	Name() string

	// Plan is called in the leader of the group at every change of membership, not concurrently. It must not block.
	// Members are sorted by ID, partitions by topic and number; Plan changes neither. It assigns a partition to one
	// member, which subscribes to its topic: the source refuses any other plan.
	Plan(members []Member, partitions []Partition) Plan
}

// Sort puts members and partitions into the order that [Strategy].Plan promises.
func Sort(members []Member, partitions []Partition) {
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(partitions, Partition.Compare)
}

// subscribers returns the members that subscribe to the topic, in their order.
func subscribers(members []Member, topic string) []Member {
	var in []Member
	for _, m := range members {
		if m.subscribes(topic) {
			in = append(in, m)
		}
	}
	return in
}
