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
	// Claims is what the member owned before; empty for a new one.
	Claims Claims
}

// subscribes tells whether m wants partitions of the topic.
func (m Member) subscribes(topic string) bool { return slices.Contains(m.Topics, topic) }

// Plan says which partitions each member gets, by the member's ID. Members that get none may be absent.
type Plan map[string][]Partition

// Strategy decides who gets what. Implementations are safe for concurrent use, most easily by having no state.
type Strategy interface {
	// Name tells strategies apart: the members of a group agree on one by name. Two versions of a strategy that
	// would plan differently need different names.
	Name() string

	// Plan is called in the member that leads the group, whenever the membership changes; not concurrently. It
	// returns at once. Members come sorted by ID, partitions by topic and number; neither is changed. A partition is
	// only given to a member that subscribes to its topic, and to one member: the source refuses any other plan.
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
