package kafka

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// Start is where reading starts. The zero value is Committed().
//
// Earliest, Latest, At and Offsets override committed progress. They apply only if the group has no live member, and once for
// each partition: the first owner commits the start at once, so a later owner continues there. A member that joins a live
// group starts at its committed progress. Partitions and topics that are made while the source runs are read from their first
// message, also with Latest and CommittedOrLatest.
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

// Committed starts at the committed progress, and at the first message of a partition without a commit.
func Committed() Start { return Start{} }

// CommittedOrLatest starts at the committed progress, and at the end of a partition without a commit. The source commits the
// start at once: a restart skips no message that arrived later.
//
// A topic that is deleted and created again while no member runs starts at its end too: brokers delete the group's progress
// with the topic, so nothing tells the new log from one never read. Messages written to it before the restart are skipped. While
// a member runs, the new log is read from its first message. Use Committed if topics are made again.
func CommittedOrLatest() Start { return Start{kind: startCommittedOrLatest} }

// Earliest starts at the first message.
func Earliest() Start { return Start{kind: startEarliest} }

// Latest starts at the end. It skips messages of a topic that is created again while no member runs, as CommittedOrLatest does.
func Latest() Start { return Start{kind: startLatest} }

// At starts at the first message with this time or a later one.
func At(t time.Time) Start { return Start{kind: startAt, time: t} }

// Offsets starts at these offsets, by topic and partition; other partitions start as with Committed.
func Offsets(offsets map[string]map[int32]int64) Start {
	s := Start{kind: startOffsets, offsets: make(map[string]map[int32]int64, len(offsets))}
	for topic, o := range offsets {
		s.offsets[topic] = maps.Clone(o)
	}
	return s
}

// String names the start.
func (s Start) String() string {
	if s.kind == startAt {
		return "at " + s.time.Format(time.RFC3339)
	}
	return [...]string{"committed", "committed or latest", "earliest", "latest", "at", "given offsets"}[s.kind]
}

// overrides reports whether the start overrides committed progress.
func (s Start) overrides() bool { return s.kind >= startEarliest }

// covers reports whether the start overrides the committed progress of the partition.
func (s Start) covers(p assign.Partition) bool {
	if s.kind != startOffsets {
		return s.overrides()
	}
	_, given := s.offsets[p.Topic][p.Number]
	return given
}

// begun is what a source knows of a partition without committed progress.
type begun struct {
	owned bool // this member owned it and committed: the topic was deleted and created again
	later bool // it was made after the start of the source
}

// place returns the start of a partition without committed progress: an offset if known, else a query. The end, and given
// offsets, apply to logs that existed at the start of the source. Later logs are read from their first message.
func (s Start) place(p assign.Partition, b begun) (offset int64, q metadata.Query, known bool) {
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
