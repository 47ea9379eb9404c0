package commit

import (
	"errors"
	"slices"
)

// Progress is how far one partition is settled: a commit stores it and a restart restores it. It is a snapshot: all its
// fields were true at the same moment.
//
// A Progress must not be changed once it is made, so any goroutine may read it.
type Progress struct {
	// Log identifies the log that the offsets belong to, such as a topic's id or a server's UUID. It is empty if the
	// source cannot tell. Ahead and At apply only to this log.
	Log string

	// Epoch is the number of the ownership that made this progress. It grows with every hand-over.
	Epoch int64

	// Frontier is the offset below which every message of the partition is settled. A restart continues from it.
	Frontier int64

	// Ahead lists the ranges at or above the frontier whose messages are settled. They ascend, are not empty and do not
	// touch.
	Ahead []Range

	// At is a place in the log at or before Frontier, in the source's own words. A source whose Frontier is not enough to find
	// its messages again sets it in a copy, before it saves that. It is opaque to all others, which keep it unchanged. Empty:
	// Frontier is enough, or nothing was saved yet.
	At string
}

// Range is a half-open range of offsets, From <= offset < To. Offsets in it without a message count as settled.
type Range struct{ From, To int64 }

// Settled reports whether the message at this offset is settled.
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

// Stored reports what a commit keeps, which may be less than its Progress.
type Stored struct {
	// Frontier is the stored frontier.
	Frontier int64

	// Replays is the number of settled offsets that no stored range covers. A crash right after this commit redelivers
	// at most this many settled messages; fewer, if some offsets hold no message.
	Replays int64

	// More reports whether a commit of the same progress may store more of it, since the store learns how much it accepts.
	More bool
}

// ErrFenced reports that a store or broker refused a commit, because a newer epoch owns the partition.
var ErrFenced = errors.New("commit: fenced: a newer epoch owns the partition")
