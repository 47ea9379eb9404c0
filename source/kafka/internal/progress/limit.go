package progress

import (
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// Limit learns how many bytes of metadata the brokers accept (offset.metadata.max.bytes). It is one setting of the cluster:
// each partition's answer applies to all.
//
// It is safe for concurrent use.
type Limit struct {
	mu      sync.Mutex
	current int // known or assumed to be accepted; 0: no metadata is
	ceiling int // never try more, unless brokers are seen to store it
	most    int // never try more
}

const (
	// MaxMetadata is the largest length on the wire, an int16 that kafka-go does not check.
	MaxMetadata     = 1<<15 - 1
	defaultMetadata = 4096
	leastMetadata   = 32 // shorter than any text of the codec
)

// NewLimit returns a Limit of that many bytes. 0 starts with a broker's default, or the largest text that a broker stores, and
// tries more.
func NewLimit(configured int) *Limit {
	if configured > 0 {
		return &Limit{current: configured, ceiling: configured, most: configured}
	}
	return &Limit{current: defaultMetadata, ceiling: MaxMetadata, most: MaxMetadata}
}

// encode returns the text for a commit after the one with the text before, within the limit. If the ranges do not fit and more was never refused, it tries twice
// the limit: a refusal costs one more request, once. Stored.More reports whether the next commit can try more than this one.
func (l *Limit) encode(before string, p *commit.Progress) (string, commit.Stored) {
	l.mu.Lock()
	current, ceiling := l.current, l.ceiling
	l.mu.Unlock()
	if current == 0 {
		return withoutMetadata(p)
	}
	text, stored := commit.EncodeAfter(before, p, current)
	if stored.Replays > 0 && current < ceiling {
		tried := min(2*current, ceiling)
		text, stored = commit.EncodeAfter(before, p, tried)
		stored.More = stored.Replays > 0 && len(text) > current && tried < ceiling
	}
	return text, stored
}

// Accepted records the size of a stored text. A larger one than the brokers have refused means that they were given a larger
// limit since.
func (l *Limit) Accepted(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size = min(size, l.most)
	if size > l.ceiling {
		l.ceiling = l.most
	}
	l.current = max(l.current, size)
}

// refused records the size of a refused text. The next encode returns a smaller one, in the end none.
func (l *Limit) refused(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size <= l.current {
		switch l.current = size / 2; {
		case l.current < leastMetadata:
			l.current = 0
		case size > defaultMetadata:
			l.current = max(l.current, defaultMetadata)
		}
	}
	l.ceiling = l.current
}

// withoutMetadata encodes the frontier alone.
func withoutMetadata(p *commit.Progress) (string, commit.Stored) {
	stored := commit.Stored{Frontier: p.Frontier}
	for _, r := range p.Ahead {
		stored.Replays += r.To - r.From
	}
	return "", stored
}
