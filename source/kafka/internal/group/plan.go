package group

import (
	"context"
	"fmt"
	"slices"

	"github.com/keystrand/keystrand/source/kafka/assign"
)

// strategies returns the configured strategy, then those that every member knows: a group can change its strategy member by
// member.
func strategies(first assign.Strategy) []assign.Strategy {
	var all []assign.Strategy
	for _, s := range []assign.Strategy{first, assign.Sticky(), assign.Range(), assign.RoundRobin()} {
		if !slices.ContainsFunc(all, func(a assign.Strategy) bool { return a.Name() == s.Name() }) {
			all = append(all, s)
		}
	}
	return all
}

// protocolName is the name of a strategy in the group's protocol. It is our own: a foreign client with "range" would otherwise
// be admitted to the group, and neither side can read the other's metadata.
func protocolName(s assign.Strategy) string { return "keystrand-" + s.Name() }

// plan assigns the partitions. The leader of the group calls it; the group waits.
func (g *Group) plan(ctx context.Context, j *joined) (assign.Plan, error) {
	all := strategies(g.cfg.Strategy)
	i := slices.IndexFunc(all, func(s assign.Strategy) bool { return protocolName(s) == j.protocol })
	if i < 0 {
		return nil, fmt.Errorf("the coordinator chose strategy %q, which this member does not know", j.protocol)
	}
	var topics []string
	for _, m := range j.members {
		topics = append(topics, m.Topics...)
	}
	slices.Sort(topics)
	partitions := g.cfg.Find(ctx, slices.Compact(topics))
	assign.Sort(j.members, partitions)
	plan, err := call(all[i], j.members, partitions)
	if err != nil {
		g.cfg.Refused(fmt.Errorf("kafka: strategy %s: %w", all[i].Name(), err))
		plan = assign.Sticky().Plan(j.members, partitions)
	}
	for _, m := range j.members { // the coordinator needs an assignment for each, also an empty one
		plan[m.ID] = append([]assign.Partition(nil), plan[m.ID]...)
	}
	return plan, nil
}

// call calls the strategy, which may be the user's. A panic, or a plan that breaks the rules, is an error.
func call(s assign.Strategy, members []assign.Member, partitions []assign.Partition) (plan assign.Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	plan = s.Plan(members, partitions)
	if err := plan.Check(members, partitions); err != nil {
		return nil, err
	}
	if plan == nil {
		plan = assign.Plan{}
	}
	return plan, nil
}
