package kafka

import (
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// metadataLimit learns how many bytes of metadata the brokers accept (offset.metadata.max.bytes). It is one setting of
// the cluster, so what one partition teaches counts for all.
//
// It is safe for concurrent use.
type metadataLimit struct {
	mu      sync.Mutex
	current int // known or believed to be accepted; 0: none is
	ceiling int // never try more
}

// noMetadata is below any text of the codec that says something.
const noMetadata = 32

func newMetadataLimit(configured int) *metadataLimit {
	if configured > 0 {
		return &metadataLimit{current: configured, ceiling: configured}
	}
	return &metadataLimit{current: defaultMetadataLimit, ceiling: maxMetadataLimit}
}

// encode returns the text for a commit, within the limit. Where the ranges do not fit and more was never refused, it
// tries twice as much: a refusal costs one more request, once.
func (l *metadataLimit) encode(p *commit.Progress) (string, commit.Stored) {
	l.mu.Lock()
	current, ceiling := l.current, l.ceiling
	l.mu.Unlock()
	if current == 0 {
		return withoutMetadata(p)
	}
	text, stored := commit.Encode(p, current)
	if stored.Replays > 0 && current < ceiling {
		text, stored = commit.Encode(p, min(2*current, ceiling))
	}
	return text, stored
}

// accepted learns from a text that was stored.
func (l *metadataLimit) accepted(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = max(l.current, min(size, l.ceiling))
}

// refused learns from a text that was too large. The next encode gives a smaller one, in the end none.
func (l *metadataLimit) refused(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size <= l.current {
		l.current = size / 2
		if l.current < noMetadata {
			l.current = 0
		}
	}
	l.ceiling = l.current
}

// withoutMetadata is a commit of the frontier alone.
func withoutMetadata(p *commit.Progress) (string, commit.Stored) {
	stored := commit.Stored{Frontier: p.Frontier}
	for _, r := range p.Ahead {
		stored.Replays += r.To - r.From
	}
	return "", stored
}
