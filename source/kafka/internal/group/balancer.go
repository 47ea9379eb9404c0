package group

import (
	"context"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
)

// balancer runs a strategy in kafka-go's group.
//
// Its protocol name is our own. A foreign client with "range" would otherwise be admitted to the group; kafka-go cannot read
// the metadata of foreign clients, and the rebalance would never end.
type balancer struct {
	strategy assign.Strategy
	cfg      Config
	find     func(topics []string) []assign.Partition
}

// balancers returns the configured strategy, then those that every member knows: a group can change its strategy member by
// member.
func balancers(ctx context.Context, cfg Config) []kafkago.GroupBalancer {
	find := func(topics []string) []assign.Partition { return cfg.Find(ctx, topics) }
	var all []kafkago.GroupBalancer
	seen := make(map[string]bool)
	for _, s := range []assign.Strategy{cfg.Strategy, assign.Sticky(), assign.Range(), assign.RoundRobin()} {
		if !seen[s.Name()] {
			seen[s.Name()] = true
			all = append(all, balancer{strategy: s, cfg: cfg, find: find})
		}
	}
	return all
}

// ProtocolName implements [kafkago.GroupBalancer].
func (b balancer) ProtocolName() string { return "keystrand-" + b.strategy.Name() }

// UserData implements [kafkago.GroupBalancer].
func (b balancer) UserData() ([]byte, error) { return b.cfg.Claims().Encode(), nil }

// AssignGroups implements [kafkago.GroupBalancer]. The library calls it in the leader of the group.
func (b balancer) AssignGroups(joined []kafkago.GroupMember, known []kafkago.Partition) kafkago.GroupMemberAssignments {
	members := make([]assign.Member, len(joined))
	for i, m := range joined {
		claims, err := assign.DecodeClaims(m.UserData)
		if err != nil {
			claims = assign.Claims{} // of a newer version; its partitions may move
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
		b.cfg.Refused(fmt.Errorf("kafka: strategy %s: %w", b.strategy.Name(), err))
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

// unseen returns the subscribed topics without a known partition. If the broker does not know one topic, kafka-go finds no
// partition of any topic, and would silently assign none.
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

// plan calls the strategy, which may be the user's. A panic, or a plan that breaks the rules, is an error.
func (b balancer) plan(members []assign.Member, partitions []assign.Partition) (plan assign.Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	plan = b.strategy.Plan(members, partitions)
	return plan, plan.Check(members, partitions)
}
