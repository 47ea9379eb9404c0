package kafka

import (
	"cmp"
	"fmt"
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
//
// Trouble includes "fetch" (fetches of a partition fail), "quota" (brokers throttle this client), "read committed" (an open
// transaction holds messages back for StallTimeout) and "read" (brokers return nothing although the log has messages). One
// error stands for all partitions.
func (s *Source) Report() source.Report {
	s.mu.Lock()
	r := source.Report{State: string(s.state), Ready: s.state == stateMember || s.state == stateHandingOver, Losses: s.losses}
	if s.current != nil {
		r.Member = s.current.session.Member
	}
	held := slices.Collect(maps.Values(s.held))
	s.mu.Unlock()
	r.Trouble = s.trouble()
	if t, throttled := s.reading.Quota.Trouble(); throttled {
		r.Trouble = append(r.Trouble, t)
	}
	slices.SortFunc(held, func(p, q *Partition) int { return p.name.Compare(q.name) })
	var readers []source.Trouble
	for _, p := range held {
		if p.reader.Stalled() {
			r.Stalled = append(r.Stalled, p.id)
		}
		readers = append(readers, p.reader.Troubles()...)
	}
	r.Trouble = append(r.Trouble, merge(readers)...)
	slices.SortStableFunc(r.Trouble, func(a, b source.Trouble) int { return cmp.Compare(a.What, b.What) })
	return r
}

// merge returns one trouble for each operation, with the error of the first partition and the number of the others.
func merge(all []source.Trouble) (merged []source.Trouble) {
	others := make(map[string]int)
	for _, t := range all {
		i := slices.IndexFunc(merged, func(m source.Trouble) bool { return m.What == t.What })
		if i < 0 {
			merged = append(merged, t)
			continue
		}
		others[t.What]++
		if t.Since.Before(merged[i].Since) {
			merged[i].Since = t.Since
		}
	}
	for i := range merged {
		if n := others[merged[i].What]; n > 0 {
			merged[i].Err = fmt.Errorf("%w (and %d more partitions)", merged[i].Err, n)
		}
	}
	return merged
}

// trouble returns the failing operations and the brokers that do not answer.
func (s *Source) trouble() []source.Trouble {
	all := s.cluster.Health.All()
	for _, w := range s.cluster.Net.Waits() {
		all = append(all, source.Trouble{What: "broker " + w.Address, Since: w.Since, Err: fmt.Errorf("no answer to %s", w.Step)})
	}
	return all
}
