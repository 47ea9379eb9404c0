package pipeline

// Bottleneck identifies the limit on a pipeline's throughput.
type Bottleneck uint8

// The bottlenecks.
const (
	BottleneckSource  Bottleneck = iota // the source: it has no more messages now
	BottleneckWorkers                   // workers: all are busy, and keys wait for one
	BottleneckOrder                     // order: workers are idle, and messages wait for earlier ones of their keys
	BottleneckBudget                    // Limits.InFlight, InFlightBytes or KeyShare
	BottleneckCommit                    // Limits.MaxReplay: commits cannot express everything that is settled
	BottleneckTrouble                   // the source: its operations fail or its partitions stall; Snapshot.Source has them
	BottleneckDivert                    // the store of diverted keys: it is slow or fails, or Limits.DivertBytes is used up
)

// String returns the bottleneck's name.
func (b Bottleneck) String() string {
	return nameOf(b, "source", "workers", "order", "budget", "commit", "trouble", "store")
}

// bottleneck returns the bottleneck of the snapshot. It checks for busy workers first, because they are also a cause of
// the other limits.
func (s *Snapshot) bottleneck() Bottleneck {
	if s.Running >= s.Workers && s.Ready > 0 {
		return BottleneckWorkers
	}
	var replay, budget, divert, waiting bool
	for i := range s.Partitions {
		pt := &s.Partitions[i]
		replay = replay || pt.Waits == WaitReplay
		budget = budget || pt.Waits == WaitBudget || pt.Waits == WaitKey
		divert = divert || pt.Waits == WaitDivert
		waiting = waiting || pt.Ready+pt.Parked > 0
	}
	switch {
	case replay:
		return BottleneckCommit
	case divert:
		return BottleneckDivert
	case budget:
		return BottleneckBudget
	case waiting:
		return BottleneckOrder
	case len(s.Source.Trouble) > 0 || len(s.Source.Stalled) > 0:
		return BottleneckTrouble // whether there are more messages is unknown
	}
	return BottleneckSource
}
