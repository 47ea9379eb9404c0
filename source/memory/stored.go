package memory

import (
	"fmt"

	"github.com/keystrand/keystrand/commit"
)

// stored is the committed progress of one partition, in the form in which a broker stores it: the frontier and the encoded text.
// So a restart gets exactly the part that fits CommitLimit.
type stored struct {
	log      string
	epoch    int64
	frontier int64
	text     string // empty if the limit is too small
}

// newStored returns what a commit of p stores, after that of before, which may be nil.
func newStored(before *stored, p *commit.Progress, limit int) (*stored, commit.Stored) {
	text, kept := commit.EncodeAfter(before.textOf(p.Log), p, limit)
	return &stored{log: p.Log, epoch: p.Epoch, frontier: p.Frontier, text: text}, kept
}

// progress returns the stored progress.
func (s *stored) progress() *commit.Progress {
	if s.text == "" {
		return &commit.Progress{Log: s.log, Epoch: s.epoch, Frontier: s.frontier}
	}
	p, err := commit.Decode(s.text)
	if err != nil {
		panic(fmt.Sprintf("memory: decode stored progress: %v", err))
	}
	return p
}

// textOf returns the stored text of a log.
func (s *stored) textOf(log string) string {
	if s == nil || s.log != log {
		return ""
	}
	return s.text
}
