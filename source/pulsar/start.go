package pulsar

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// Start is where reading begins: [Earliest], [Latest], [At] or [After].
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

// Earliest begins at the position of the subscription. A new subscription begins at the first message of the log.
func Earliest() Start { return Start{} }

// Latest begins at the position of the subscription. A new subscription begins after the last message that exists when the
// partition is first owned.
//
// To skip no messages, these partitions are read from their first message:
//   - partitions added while the source runs;
//   - partitions of a topic that is deleted and created again meanwhile;
//   - partitions that were owned when the subscription was deleted.
//
// The latter two only if the new owner has owned the partition before, or noticed its absence.
func Latest() Start { return Start{kind: startLatest} }

// At moves the subscription, each time the process starts, to the first message published at t or later. Settled messages
// after t are handled again, unsettled ones before t are skipped, and Config.Store forgets the partition's progress. At needs
// Config.Alone: a subscription must not move under other processes. A topic that begins to match
// Pattern, or is created again, while the process runs is read from its first message.
func At(t time.Time) Start { return Start{kind: startAt, at: t} }

// After moves the subscription, each time the process starts, behind these messages. The keys are a topic that is given to New,
// by its full or short name, and a partition. Partitions without an id do not move. After needs Config.Alone and drops stored
// progress, and is not about later topics, like [At].
//
// A broker takes an unknown id for the nearest one in its log. Accept fails for an id behind the last message: it is from
// another cluster or topic, and every future message could be below it. An unknown id within the log is not detected.
func After(ids map[string]map[int32]MessageID) Start { return Start{kind: startAfter, ids: ids} }

func (s Start) moves() bool { return s.kind == startAt || s.kind == startAfter }

func (s Start) validate(alone bool) error {
	var errs []error
	if s.moves() && !alone {
		errs = append(errs, errors.New("pulsar: Start moves the subscription: set Config.Alone, since no other process may use it"))
	}
	if s.kind == startAt && s.at.Before(time.Unix(0, 0)) {
		errs = append(errs, fmt.Errorf("pulsar: Start is At(%v), which is before 1970", s.at))
	}
	topics := slices.Sorted(maps.Keys(s.ids))
	for i, topic := range topics {
		if j := slices.IndexFunc(topics[:i], sameAs(topic)); j >= 0 {
			errs = append(errs, fmt.Errorf("pulsar: Start is After messages of %q, which is given twice, also as %q", topic, topics[j]))
		}
		for n, id := range s.ids[topic] {
			if n < 0 || id.Ledger < 0 || id.Entry < -1 || id.Batch < 0 {
				errs = append(errs, fmt.Errorf("pulsar: Start is After %+v of %s/%d: not a message id", id, topic, n))
			}
		}
	}
	return errors.Join(errs...)
}

// full returns s with the full names of topics.
func (s Start) full() Start {
	ids := make(map[string]map[int32]MessageID, len(s.ids))
	for topic, of := range s.ids {
		ids[pulsarname.Full(topic)] = of
	}
	s.ids = ids
	return s
}

// among returns an error for each topic of an After that is not read.
func (s Start) among(topics []string, pattern *regexp.Regexp) error {
	var errs []error
	for topic := range s.ids {
		if !slices.ContainsFunc(topics, sameAs(topic)) && (pattern == nil || !pattern.MatchString(pulsarname.Full(topic))) {
			errs = append(errs, fmt.Errorf("pulsar: Start is After messages of %q, which is not read: want a topic that is given to New", topic))
		}
	}
	return errors.Join(errs...)
}

// names reports whether Start moves the subscription of a partition.
func (s Start) names(stream string, number int32) bool {
	_, named := s.ids[stream][number]
	return s.kind == startAt || named
}

// skips returns the last message to skip in a partition, if Start names one. A broker moves a subscription to a message, not
// behind it.
func (s Start) skips(stream string, number int32) (ack.Position, bool) {
	id, named := s.ids[stream][number]
	return ack.Position(id), named
}

// check returns errForeign if the id for a partition is behind the end of its log.
func (s Start) check(c client.Consumer, stream string, number int32) error {
	id, named := s.ids[stream][number]
	if !named {
		return nil
	}
	last, err := lastOf(c)
	if err != nil {
		return err
	}
	after := ack.Position(id)
	end := ack.Position{Ledger: last.LedgerID(), Entry: last.EntryID(), Batch: id.Batch}
	if after.Compare(end) > 0 {
		return fmt.Errorf("%w: %v is behind the last message, %v", errForeign, after, ack.PositionOf(last))
	}
	return nil
}

// errForeign is the error for an id that cannot be from the log.
var errForeign = errors.New("the message id is not from this log")

// seek moves the subscription of a partition as Start says.
func (s Start) seek(c client.Consumer, stream string, number int32) error {
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
