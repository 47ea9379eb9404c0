package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka/assign"
)

// partitionName is a partition without the number of its ownership.
type partitionName = assign.Partition

// memory is what can be believed of committed: the way back from an offset and its metadata to progress.
type memory struct {
	known       bool  // frontier counts; else nothing is committed, or for another log
	frontier    int64 // valid if known
	leaderEpoch int32 // of the last message below frontier, -1: unknown
	ahead       []commit.Range
	aheadEpoch  int32 // of the last message in ahead, -1: unknown
	epoch       int64 // of the last owner, as far as it left one
	foreign     error // why not all of it is believed, nil: all of it is
	replaced    bool  // progress belongs to another log: begin at the first message of this one, whatever Start says
}

var (
	errNoMetadata  = errors.New("it has no metadata: committed by another program, or set by a tool")
	errOtherLog    = errors.New("it belongs to another log: the topic was deleted and made again")
	errUnknownLog  = errors.New("it cannot be told whether it belongs to this log")
	errOtherOffset = errors.New("its metadata belongs to another offset")
)

// nameLog adds to the identity of a log the leader epoch that wrote the last message settled ahead. The identity is that
// of the topic; what an unclean election has cut off it, and what was written there instead, only the epoch tells.
func nameLog(id string, epoch int32) string {
	if epoch < 0 {
		return id
	}
	return id + epochMark + strconv.Itoa(int(epoch))
}

// epochMark is in no identity: they are URL-safe base64.
const epochMark = "+"

// parseLog is the way back.
func parseLog(name string) (id string, epoch int32) {
	id, text, marked := strings.Cut(name, epochMark)
	n, err := strconv.ParseInt(text, 10, 32)
	if !marked || err != nil || n < 0 {
		return id, -1
	}
	return id, int32(n)
}

// recall reads what is committed, for the log that has this identity now.
//
// The committed offset is believed even when the metadata is not, since any program may have moved it on purpose. Only
// an offset of another log means nothing here. Ranges ahead are believed only with everything around them intact.
func recall(c committed, logID string) memory {
	if c.offset < 0 {
		return memory{leaderEpoch: -1, aheadEpoch: -1}
	}
	// A leader epoch counts only with the rest of our own commit: kafka-go's Client, for one, writes 0 whatever it is.
	m := memory{known: true, frontier: c.offset, leaderEpoch: -1, aheadEpoch: -1}
	if c.metadata == "" {
		m.foreign = errNoMetadata
		return m
	}
	p, err := commit.Decode(c.metadata)
	if err != nil {
		m.foreign = err
		return m
	}
	m.epoch = p.Epoch
	log, aheadEpoch := parseLog(p.Log)
	switch {
	case log != "" && logID != "" && log != logID:
		return memory{leaderEpoch: -1, aheadEpoch: -1, epoch: p.Epoch, foreign: errOtherLog, replaced: true}
	case log != logID:
		m.foreign = errUnknownLog
	case p.Frontier != c.offset:
		m.foreign = fmt.Errorf("%w: %d, not %d", errOtherOffset, p.Frontier, c.offset)
	default:
		m.ahead, m.aheadEpoch, m.leaderEpoch = p.Ahead, aheadEpoch, c.leaderEpoch
	}
	return m
}

// nextEpoch returns the number of a new ownership: above that of the last owner and above our own last one of this
// partition, and at least the generation of the group.
//
// A broker forgets a group that was idle for long, with its offsets, and begins again with generation 1. The clock
// keeps epochs growing then, and where metadata could not be stored. It is only a floor: every owner commits its epoch
// before the first message, so two owners in a row never depend on their clocks.
func nextEpoch(stored, ours int64, generation int32, now time.Time) int64 {
	return max(stored+1, ours+1, int64(generation), now.UnixMilli())
}
