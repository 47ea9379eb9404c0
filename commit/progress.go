package commit

import (
	"errors"
	"slices"
)

// Progress is how far one partition is settled: what is committed, and what is restored at a restart.
// It is one snapshot: all its fields were true at the same moment.
//
// A Progress is a value: whoever made it does not change it afterwards, so it may be read from any goroutine.
type Progress struct {
	// Log names the very log the offsets belong to, as the source knows it (a topic's id, a server's uuid).
	// Empty where the source cannot tell. Ahead ranges are applied only to the log they were made from.
	Log string

	// Epoch is the number of the ownership that made this progress. It grows with every hand-over.
	Epoch int64

	// Frontier is the offset below which every message of the partition is settled: where a restart reads on.
	Frontier int64

	// Ahead are the ranges at or above the frontier whose messages are settled, ascending, neither empty nor touching.
	Ahead []Range
}

// Range is a half-open range of offsets, From <= offset < To. Offsets in it that hold no message count as settled.
type Range struct{ From, To int64 }

// Settled tells whether p says that the message at this offset is settled.
func (p *Progress) Settled(offset int64) bool {
	if offset < p.Frontier {
		return true
	}
	_, found := slices.BinarySearchFunc(p.Ahead, offset, func(r Range, o int64) int {
		switch {
		case r.To <= o:
			return -1
		case r.From > o:
			return 1
		}
		return 0
	})
	return found
}

// Stored says what a commit really keeps, which may be less than the progress it was given.
type Stored struct {
	// Frontier is the frontier that was stored.
	Frontier int64

	// Replays is how many settled offsets a crash right after this commit would hand out again, because no range
	// that was stored covers them: an upper bound of messages, since offsets may be skipped.
	Replays int64
}

// ErrFenced is what a store or broker answers to a commit of an epoch that is no longer the owner.
var ErrFenced = errors.New("commit: fenced: a newer epoch owns the partition")
