package memory

import (
	"fmt"

	"github.com/keystrand/keystrand/commit"
)

// stored is a group's committed progress of one partition, as a broker keeps it: the frontier, and beside it the text
// of the codec, so that a restart gets exactly what fits and Stored is honest.
type stored struct {
	log      string
	epoch    int64
	frontier int64
	text     string // empty where the limit left no room
}

func newStored(p *commit.Progress, limit int) (*stored, commit.Stored) {
	text, kept := commit.Encode(p, limit)
	return &stored{log: p.Log, epoch: p.Epoch, frontier: p.Frontier, text: text}, kept
}

// progress returns what was kept.
func (s *stored) progress() *commit.Progress {
	if s.text == "" {
		return &commit.Progress{Log: s.log, Epoch: s.epoch, Frontier: s.frontier}
	}
	p, err := commit.Decode(s.text)
	if err != nil {
		panic(fmt.Sprintf("memory: the codec does not read what it wrote: %v", err))
	}
	return p
}
