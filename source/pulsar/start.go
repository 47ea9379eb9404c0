package pulsar

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// Start says where to begin reading. Make it with [Earliest], [Latest], [At] or [After].
type Start struct {
	kind startKind
	at   time.Time
	ids  map[string]map[int32]MessageID
}

type startKind uint8

const (
	startEarliest startKind = iota
	startLatest
	startAt
	startAfter
)

// MessageID is the position of a message in its partition, as brokers and their tools show it: ledger:entry:batch index.
type MessageID struct {
	Ledger, Entry int64
	Batch         int32
}

// Earliest begins where the subscription stands, a new one at the first message there is.
func Earliest() Start { return Start{} }

// Latest begins where the subscription stands, a new one behind the last message there is when a partition is first
// owned. Partitions that are added while the source runs are read from their first message, as are those of a topic that is
// made again meanwhile, and those that were owned when somebody deleted the subscription: else messages would be skipped. That
// is, as far as the process that takes them has owned them before, or has seen that they were gone.
func Latest() Start { return Start{kind: startLatest} }

// At moves the subscription, each time the process starts, to the first message published at t or later: what is settled
// comes again, what is not is skipped, and what Config.Store has of the partition is dropped. It needs Config.Alone, for
// others must not have a subscription moved under them.
func At(t time.Time) Start { return Start{kind: startAt, at: t} }

// After moves the subscription, each time the process starts, behind these messages, by topic as given to New and
// partition, as At does; what is not named stays where it is. A broker takes an id that is not in its log for the nearest
// that is. One behind the last message is of another cluster or another topic: Accept fails, since all that is ever written
// here could be below it. One of those that is not behind cannot be told. It needs Config.Alone.
func After(ids map[string]map[int32]MessageID) Start { return Start{kind: startAfter, ids: ids} }

func (s Start) moves() bool { return s.kind == startAt || s.kind == startAfter }

func (s Start) validate(alone bool) error {
	var errs []error
	if s.moves() && !alone {
		errs = append(errs, errors.New("pulsar: Start moves the subscription, which needs Alone: nobody else may have it"))
	}
	if s.kind == startAt && s.at.Before(time.Unix(0, 0)) {
		errs = append(errs, fmt.Errorf("pulsar: Start is At(%v), which is before 1970", s.at))
	}
	for topic, ids := range s.ids {
		for n, id := range ids {
			if n < 0 || id.Ledger < 0 || id.Entry < -1 || id.Batch < 0 {
				errs = append(errs, fmt.Errorf("pulsar: Start is After %+v of %s/%d: not an id of a message", id, topic, n))
			}
		}
	}
	return errors.Join(errs...)
}

// among tells which topics of an After are not read.
func (s Start) among(topics []string, pattern *regexp.Regexp) error {
	var errs []error
	for topic := range s.ids {
		if !slices.Contains(topics, topic) && (pattern == nil || !pattern.MatchString(topic)) {
			errs = append(errs, fmt.Errorf("pulsar: Start is After messages of %q, which is not read: want a topic as it is given to New", topic))
		}
	}
	return errors.Join(errs...)
}

// names tells whether Start moves the subscription of a partition.
func (s Start) names(stream string, number int32) bool {
	_, named := s.ids[stream][number]
	return s.kind == startAt || named
}

// skips returns the last message of a partition that is not wanted, if Start names one. A broker moves a subscription to a
// message, not behind it.
func (s Start) skips(stream string, number int32) (position, bool) {
	id, named := s.ids[stream][number]
	return position{ledger: id.Ledger, entry: id.Entry, batch: id.Batch}, named
}

// check refuses the id of a partition if the log has not come as far.
func (s Start) check(c consumer, stream string, number int32) error {
	id, named := s.ids[stream][number]
	if !named {
		return nil
	}
	last, err := lastOf(c)
	if err != nil {
		return err
	}
	there, _ := s.skips(stream, number)
	end := position{ledger: last.LedgerID(), entry: last.EntryID(), batch: id.Batch}
	if there.compare(end) > 0 {
		return fmt.Errorf("%w: %v is behind the last message, which is %v", errForeign, there, positionOf(last))
	}
	return nil
}

// errForeign is why an id of Start cannot be of the log.
var errForeign = errors.New("the message id is not one of this log")

// seek moves the subscription of a partition, if Start says so.
func (s Start) seek(c consumer, stream string, number int32) error {
	switch s.kind {
	case startAt:
		return c.SeekByTime(s.at)
	case startAfter:
		if id, named := s.ids[stream][number]; named {
			return c.Seek(pulsar.NewMessageID(id.Ledger, id.Entry, id.Batch, 0))
		}
	case startEarliest, startLatest:
	}
	return nil
}
