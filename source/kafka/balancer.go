package kafka

import (
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
)

// balancer lets a strategy work in kafka-go's group.
//
// Its name on the wire is our own: a foreign client that knows "range" too would be let into the group, and kafka-go
// cannot read what foreign clients say when they join (#762, #1128); the group would never come to rest.
type balancer struct {
	strategy assign.Strategy
	claims   func() assign.Claims // called at every join
	wrong    func(error)          // told of a plan that is refused
	find     func([]string) []assign.Partition
}

// balancers returns the configured strategy first, then those that every member knows, so that a group can change its
// strategy member by member.
func balancers(configured assign.Strategy, claims func() assign.Claims, wrong func(error),
	find func([]string) []assign.Partition,
) []kafkago.GroupBalancer {
	var all []kafkago.GroupBalancer
	seen := make(map[string]bool)
	for _, s := range []assign.Strategy{configured, assign.Sticky(), assign.Range(), assign.RoundRobin()} {
		if !seen[s.Name()] {
			seen[s.Name()] = true
			all = append(all, balancer{strategy: s, claims: claims, wrong: wrong, find: find})
		}
	}
	return all
}

// ProtocolName is part of kafkago.GroupBalancer.
func (b balancer) ProtocolName() string { return "keystrand-" + b.strategy.Name() }

// UserData is part of kafkago.GroupBalancer.
func (b balancer) UserData() ([]byte, error) { return b.claims().Encode(), nil }

// AssignGroups is part of kafkago.GroupBalancer; the library calls it in the leader of the group.
func (b balancer) AssignGroups(joined []kafkago.GroupMember, known []kafkago.Partition) kafkago.GroupMemberAssignments {
	members := make([]assign.Member, len(joined))
	for i, m := range joined {
		claims, err := assign.DecodeClaims(m.UserData)
		if err != nil {
			claims = assign.Claims{} // a newer version of ours: its partitions may move, that is all
		}
		members[i] = assign.Member{ID: m.ID, Topics: m.Topics, Claims: claims}
	}
	partitions := make([]assign.Partition, len(known))
	for i, p := range known {
		partitions[i] = assign.Partition{Topic: p.Topic, Number: int32(p.ID)}
	}
	if missing := unseen(members, partitions); len(missing) > 0 {
		partitions = append(partitions, b.find(missing)...)
	}
	assign.Sort(members, partitions)
	plan, err := b.plan(members, partitions)
	if err != nil {
		b.wrong(fmt.Errorf("kafka: strategy %s: %w", b.strategy.Name(), err))
		plan = assign.Sticky().Plan(members, partitions)
	}
	out := make(kafkago.GroupMemberAssignments, len(members))
	for _, m := range members {
		out[m.ID] = make(map[string][]int)
		for _, p := range plan[m.ID] {
			out[m.ID][p.Topic] = append(out[m.ID][p.Topic], int(p.Number))
		}
	}
	return out
}

// unseen returns the topics that somebody subscribes to and of which no partition is known. When one topic is unknown to
// the broker, kafka-go sees none of any topic, and would give nothing to anybody, in silence.
func unseen(members []assign.Member, partitions []assign.Partition) []string {
	seen := make(map[string]bool)
	for _, p := range partitions {
		seen[p.Topic] = true
	}
	var missing []string
	for _, m := range members {
		for _, t := range m.Topics {
			if !seen[t] {
				seen[t] = true
				missing = append(missing, t)
			}
		}
	}
	return missing
}

// plan asks the strategy, which may be the user's: a panic or a plan that breaks the rules is an error.
func (b balancer) plan(members []assign.Member, partitions []assign.Partition) (plan assign.Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	plan = b.strategy.Plan(members, partitions)
	return plan, plan.Check(members, partitions)
}
