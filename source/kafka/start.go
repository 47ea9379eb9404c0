package kafka

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// Start says where to begin. The zero value is Committed().
//
// The starts that do not look at what is committed (Earliest, Latest, At, Offsets) are for a group that begins: they
// count when the group has no live member, once for each partition. The first owner commits the start at once, so a
// partition that moves to another member, or comes back, goes on where it was. A member that finds the group alive goes
// on from what is committed. Partitions and topics that are made while the source runs are read from their first message,
// with Latest and CommittedOrLatest too.
type Start struct {
	kind    startKind
	time    time.Time
	offsets map[string]map[int32]int64
}

type startKind uint8

const (
	startCommitted startKind = iota
	startCommittedOrLatest
	startEarliest
	startLatest
	startAt
	startOffsets
)

// Committed begins at the committed progress, and at the first message where nothing is committed.
func Committed() Start { return Start{} }

// CommittedOrLatest begins at the committed progress, and at the end where nothing is committed. Where it begins is
// committed at once: messages that arrive later are not skipped by a restart.
func CommittedOrLatest() Start { return Start{kind: startCommittedOrLatest} }

// Earliest begins at the first message, whatever is committed.
func Earliest() Start { return Start{kind: startEarliest} }

// Latest begins at the end, whatever is committed.
func Latest() Start { return Start{kind: startLatest} }

// At begins at the first message with this time or a later one, whatever is committed.
func At(t time.Time) Start { return Start{kind: startAt, time: t} }

// Offsets begins at given offsets, by topic and partition, whatever is committed; partitions that are not named begin
// as with Committed.
func Offsets(offsets map[string]map[int32]int64) Start {
	s := Start{kind: startOffsets, offsets: make(map[string]map[int32]int64, len(offsets))}
	for topic, o := range offsets {
		s.offsets[topic] = maps.Clone(o)
	}
	return s
}

// String names the start.
func (s Start) String() string {
	switch s.kind {
	case startCommittedOrLatest:
		return "committed or latest"
	case startEarliest:
		return "earliest"
	case startLatest:
		return "latest"
	case startAt:
		return "at " + s.time.Format(time.RFC3339)
	case startOffsets:
		return "given offsets"
	case startCommitted:
	}
	return "committed"
}

// overrides tells whether the start does not look at what is committed.
func (s Start) overrides() bool { return s.kind >= startEarliest }

// covers tells whether an overriding start says something about the partition.
func (s Start) covers(p partitionName) bool {
	if s.kind != startOffsets {
		return s.overrides()
	}
	_, given := s.offsets[p.Topic][p.Number]
	return given
}

// begun is what a source knows of the beginning of a partition.
type begun struct {
	owned bool // we had it already, and committed: if nothing is committed now, the topic was deleted and made again
	later bool // it was made after the source began
}

// place returns where the partition begins when nothing that is committed counts: a given offset, or a query. The end,
// and given offsets, are those of the time when the source began: what was made later is read from its first message.
func (s Start) place(p partitionName, b begun) (offset int64, q metadata.Query, known bool) {
	switch s.kind {
	case startOffsets:
		if o, given := s.offsets[p.Topic][p.Number]; given && !b.owned {
			return o, q, true
		}
	case startLatest, startCommittedOrLatest:
		q.Latest = !b.owned && !b.later
	case startAt:
		q.Time = s.time
	case startCommitted, startEarliest:
	}
	return 0, q, false
}

func (s Start) validate() error {
	var errs []error
	if s.kind == startAt && s.time.IsZero() {
		errs = append(errs, errors.New("kafka: Start: At needs a time"))
	}
	for topic, offsets := range s.offsets {
		for number, o := range offsets {
			if o < 0 || number < 0 {
				errs = append(errs, fmt.Errorf("kafka: Start: offset %d of %s/%d is negative", o, topic, number))
			}
		}
	}
	return errors.Join(errs...)
}
