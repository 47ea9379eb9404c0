package pulsar

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/keystrand/keystrand/source"
)

// State is where a source stands.
type State uint8

const (
	// Connecting means that no broker has answered yet, or the topics are not known yet.
	Connecting State = iota
	// Contending means that no partition was proposed to it yet.
	Contending
	// Member has owned a partition.
	Member
	// Failed means that Accept has returned, or will return, an error.
	Failed
	// Closed means that Close was called.
	Closed
)

// String returns the state's name in lower case.
func (s State) String() string {
	return [...]string{"connecting", "contending", "member", "failed", "closed"}[s]
}

// Status is a source at one moment.
type Status struct {
	State State
	// Name is what the broker's statistics call the consumers of this process.
	Name string
	// Trouble is what does not work just now and is tried again, by name.
	Trouble    []source.Trouble
	Partitions []PartitionStatus
	// Losses are the ownerships that were lost since the start.
	Losses source.Losses
}

// PartitionStatus is a partition that is accepted and not released.
type PartitionStatus struct {
	Stream    string
	Partition int32
	Epoch     int64
	Leaving   bool // asked back
	Lost      bool
}

// Status returns how the source is. It does not block and is called from any goroutine.
func (s *Source) Status() Status {
	st := Status{Name: s.name, Trouble: s.health.All()}
	s.mu.Lock()
	st.State, st.Losses = s.state, s.losses
	st.Trouble = append(st.Trouble, s.apartLocked()...)
	held := make([]*Partition, 0, len(s.held))
	for p := range s.held {
		held = append(held, p)
	}
	s.mu.Unlock()
	slices.SortFunc(st.Trouble, func(a, b source.Trouble) int { return cmp.Compare(a.What, b.What) })
	slices.SortFunc(held, func(p, q *Partition) int {
		return cmp.Or(cmp.Compare(p.id.Stream, q.id.Stream), cmp.Compare(p.id.Partition, q.id.Partition))
	})
	for _, p := range held {
		leaving, lost, released := p.told()
		if released {
			continue
		}
		st.Partitions = append(st.Partitions, PartitionStatus{
			Stream: p.id.Stream, Partition: p.id.Partition, Epoch: p.id.Epoch, Leaving: leaving, Lost: lost,
		})
	}
	return st
}

// Report is Status in the words that all sources share.
func (s *Source) Report() source.Report {
	st := s.Status()
	return source.Report{
		State: st.State.String(), Ready: st.State == Contending || st.State == Member, Trouble: st.Trouble, Losses: st.Losses,
	}
}

var errApart = errors.New("the candidate's connection has gone: the broker does not choose us before it is attached again")

// apartLocked returns the candidates that are not attached just now. The log hears of their partitions, or of nothing: a
// connection takes hundreds of them with it.
func (s *Source) apartLocked() (all []source.Trouble) {
	for _, c := range s.contenders {
		if since := c.apartSince(); !since.IsZero() {
			all = append(all, source.Trouble{What: "be a candidate for " + c.name(), Err: errApart, Since: since})
		}
	}
	return all
}

// lost counts an ownership that was lost.
func (s *Source) lost(p *Partition) {
	why, now := p.reason(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = source.Losses{Count: s.losses.Count + 1, Last: p.id, At: now, Why: why}
}
