package kafka

import (
	"slices"

	"github.com/keystrand/keystrand/source"
)

// State is where a member stands.
type State uint8

const (
	// Connecting means that no broker has answered yet, or the topics are not known yet.
	Connecting State = iota
	// Joining is waiting for the group.
	Joining
	// Member is in the group.
	Member
	// HandingOver drains partitions, since a rebalance has begun.
	HandingOver
	// Failed means that Accept has returned, or will return, an error.
	Failed
	// Closed means that Close was called.
	Closed
)

// String returns the state's name in lower case.
func (s State) String() string {
	return [...]string{"connecting", "joining", "member", "handing over", "failed", "closed"}[s]
}

// Status is a source at one moment.
type Status struct {
	State      State
	Generation int32
	MemberID   string
	// Trouble is what does not work just now and is tried again, by name.
	Trouble    []source.Trouble
	Partitions []PartitionStatus
	// Losses are the ownerships that were lost since the start.
	Losses source.Losses
}

// PartitionStatus is a partition that is not released.
type PartitionStatus struct {
	Stream    string
	Partition int32
	Epoch     int64
	Leaving   bool // asked back
	Lost      bool
	Stalled   bool // stands below the end of its log although nothing holds it back here
}

// Status returns how the source is. It does not block and is called from any goroutine.
func (s *Source) Status() Status {
	st := Status{Trouble: s.health.All()}
	s.mu.Lock()
	st.State, st.Losses = s.state, s.losses
	if s.current != nil {
		st.Generation, st.MemberID = s.current.id, s.current.member
	}
	held := make([]*Partition, 0, len(s.held))
	for _, p := range s.held {
		held = append(held, p)
	}
	s.mu.Unlock()
	slices.SortFunc(held, func(p, q *Partition) int { return p.name.Compare(q.name) })
	for _, p := range held {
		leaving, lost := p.told()
		st.Partitions = append(st.Partitions, PartitionStatus{
			Stream:    p.id.Stream,
			Partition: p.id.Partition,
			Epoch:     p.id.Epoch,
			Leaving:   leaving,
			Lost:      lost,
			Stalled:   p.reader.Stalled(),
		})
	}
	return st
}

// Report is Status in the words that all sources share.
func (s *Source) Report() source.Report {
	st := s.Status()
	r := source.Report{
		State: st.State.String(), Ready: st.State == Member || st.State == HandingOver, Trouble: st.Trouble, Losses: st.Losses,
	}
	for _, p := range st.Partitions {
		if p.Stalled {
			r.Stalled = append(r.Stalled, source.ID{Stream: p.Stream, Partition: p.Partition, Epoch: p.Epoch})
		}
	}
	return r
}
