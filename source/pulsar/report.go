package pulsar

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/keystrand/keystrand/source"
)

// States of a source, as Report describes them.
const (
	stateConnecting = "connecting"
	stateContending = "contending"
	stateMember     = "member"
	stateFailed     = "failed"
	stateClosed     = "closed"
)

// Report returns the state of the source now. It does not block and may be called from any goroutine.
//
// State is one of:
//   - "connecting": no broker has answered, or the topics are not known
//   - "contending": the source was not elected for any partition yet
//   - "member": the source has owned a partition
//   - "failed": Accept returns an error
//   - "closed": Close was called
//
// Member is the name of this process's consumers in the broker's statistics.
func (s *Source) Report() source.Report {
	s.mu.Lock()
	r := source.Report{
		State: s.state, Ready: s.state == stateContending || s.state == stateMember,
		Member: s.name, Trouble: s.awayLocked(), Losses: s.losses,
	}
	s.mu.Unlock()
	r.Trouble = append(r.Trouble, s.health.All()...)
	slices.SortFunc(r.Trouble, func(a, b source.Trouble) int { return cmp.Compare(a.What, b.What) })
	return r
}

var errAway = errors.New("the candidate is disconnected; the broker elects this process only after it reconnects")

// awayLocked returns the candidates that are disconnected now. They are not logged: a connection carries hundreds of them,
// and the loss of their partitions is.
func (s *Source) awayLocked() (all []source.Trouble) {
	for _, c := range s.contenders {
		if since := c.awaySince(); !since.IsZero() {
			all = append(all, source.Trouble{What: "stay in election of " + c.name(), Err: errAway, Since: since})
		}
	}
	return all
}

// lost counts the loss of a partition.
func (s *Source) lost(p *Partition) {
	why, _ := p.tenure.Lost()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = source.Losses{Count: s.losses.Count + 1, Last: p.id, At: now, Why: why}
}
