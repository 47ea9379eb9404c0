package kafka

import (
	"maps"
	"slices"

	"github.com/keystrand/keystrand/source"
)

// state is the state of a member. [Source.Report] explains each.
type state string

const (
	stateConnecting  state = "connecting"
	stateJoining     state = "joining"
	stateMember      state = "member"
	stateHandingOver state = "handing over"
	stateFailed      state = "failed"
	stateClosed      state = "closed"
)

// Report returns the current state of the source. It does not block and may be called from any goroutine.
//
// State is one of:
//   - "connecting": no broker has answered, or the topics are not known
//   - "joining": the source waits for the group
//   - "member": the source is in the group
//   - "handing over": the source drains partitions in a rebalance
//   - "failed": Accept has returned, or will return, an error
//   - "closed": Close was called
//
// Member is the member id in the group.
func (s *Source) Report() source.Report {
	s.mu.Lock()
	r := source.Report{State: string(s.state), Ready: s.state == stateMember || s.state == stateHandingOver, Losses: s.losses}
	if s.current != nil {
		r.Member = s.current.session.Member
	}
	held := slices.Collect(maps.Values(s.held))
	s.mu.Unlock()
	r.Trouble = s.cluster.Health.All()
	slices.SortFunc(held, func(p, q *Partition) int { return p.name.Compare(q.name) })
	for _, p := range held {
		if p.reader.Stalled() {
			r.Stalled = append(r.Stalled, p.id)
		}
	}
	return r
}
