package memory

import (
	"slices"

	"github.com/keystrand/keystrand/commit"
)

// stored is a group's committed progress of one partition.
type stored struct {
	log      string
	epoch    int64
	frontier int64
	ahead    []commit.Range
}

func newStored(p *commit.Progress, limit int) (*stored, commit.Stored) {
	_ = limit
	return &stored{log: p.Log, epoch: p.Epoch, frontier: p.Frontier, ahead: slices.Clone(p.Ahead)}, commit.Stored{Frontier: p.Frontier}
}

// progress returns what was kept.
func (s *stored) progress() *commit.Progress {
	return &commit.Progress{Log: s.log, Epoch: s.epoch, Frontier: s.frontier, Ahead: slices.Clone(s.ahead)}
}
