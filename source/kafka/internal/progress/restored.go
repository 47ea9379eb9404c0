package progress

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Restored is the part of Committed that is valid for the current log.
type Restored struct {
	Known       bool  // Frontier is valid; else nothing is committed, or only for another log
	Frontier    int64 // valid if Known
	LeaderEpoch int32 // of the last message below Frontier; -1: unknown
	Ahead       []commit.Range
	AheadEpoch  int32 // leader epoch of the last message in Ahead; -1: unknown
	At          string
	Metadata    string // has Ahead
	Epoch       int64  // of the last owner; 0: unknown
	Foreign     error  // why a part is invalid; nil: all is valid
	Replaced    bool   // committed for another log: start at the first message of this one, whatever Start says
}

var (
	errNoMetadata  = errors.New("no metadata: committed by another program, or set by a tool")
	errOtherLog    = errors.New("committed for another log: the topic was deleted and created again")
	errUnknownLog  = errors.New("the log that it was committed for is unknown")
	errOtherOffset = errors.New("the metadata belongs to another offset")
)

// Unknown returns a Restored of nothing, after the owner with this epoch.
func Unknown(epoch int64) Restored { return Restored{LeaderEpoch: -1, AheadEpoch: -1, Epoch: epoch} }

// Restore decodes c for the log with this identity.
//
// The committed offset is valid even if the metadata is not: any program may have set it on purpose. The exception is an
// offset of another log. Ranges ahead, and At, are valid only if all metadata is.
func Restore(c Committed, logID string) Restored {
	r := Unknown(0)
	if c.Offset < 0 {
		return r
	}
	r.Known, r.Frontier = true, c.Offset
	if c.Metadata == "" {
		r.Foreign = errNoMetadata
		return r
	}
	p, err := commit.Decode(c.Metadata)
	if err != nil {
		r.Foreign = err
		return r
	}
	r.Epoch = p.Epoch
	log, aheadEpoch := parseLog(p.Log)
	switch {
	case log != "" && logID != "" && log != logID:
		r = Unknown(p.Epoch)
		r.Foreign, r.Replaced = errOtherLog, true
	case log != logID:
		r.Foreign = errUnknownLog
	case p.Frontier != c.Offset:
		r.Foreign = fmt.Errorf("%w: %d, the committed offset is %d", errOtherOffset, p.Frontier, c.Offset)
	default: // only here does the leader epoch count: other clients commit 0 for any
		r.Ahead, r.AheadEpoch, r.LeaderEpoch, r.At, r.Metadata = p.Ahead, aheadEpoch, c.LeaderEpoch, p.At, c.Metadata
	}
	return r
}

// NameLog returns the identity of a log with the leader epoch of the last message settled ahead. The identity is that of the
// topic. Only the epoch shows that an unclean election replaced the messages.
func NameLog(id string, epoch int32) string {
	if epoch < 0 {
		return id
	}
	return id + epochMark + strconv.Itoa(int(epoch))
}

// epochMark is in no identity: they are URL-safe base64.
const epochMark = "+"

// parseLog is the inverse of NameLog.
func parseLog(name string) (id string, epoch int32) {
	id, text, marked := strings.Cut(name, epochMark)
	n, err := strconv.ParseInt(text, 10, 32)
	if !marked || err != nil || n < 0 {
		return id, -1
	}
	return id, int32(n)
}

// NextEpoch returns the number of a new ownership: larger than those of the last owner and of our own last one, and at least
// the generation of the group.
//
// A broker forgets an idle group with its offsets, and restarts at generation 1. The clock then keeps epochs growing. It is
// only a floor: every owner commits its epoch before it fetches, so two successive owners do not depend on their clocks.
func NextEpoch(stored, ours int64, generation int32, now time.Time) int64 {
	return max(stored+1, ours+1, int64(generation), now.UnixMilli())
}
