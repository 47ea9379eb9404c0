package sourcetest

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// Env is the log that one case runs on: empty partitions, and one group without members. The suite calls its functions from
// one goroutine, except Plain. They may block, and return when members can see the effect. The function that makes the Env
// cleans up by t.Cleanup.
//
// The suite numbers the partitions from 0 and passes that number to Produce and Skip.
type Env struct {
	// Stream is the name of the stream. Required, unless ID is set.
	Stream string
	// Partitions is the number of partitions. Required, at least 2.
	Partitions int
	// ID returns the name under which the source knows partition i: its stream and its number in there, different for each i. Set
	// it for a source whose partitions are streams of their own, such as the tables of a database. Nil: partition i of Stream.
	ID func(i int) (stream string, partition int32)
	// Group is the name of the group that the members join, as [source.Describer] has it. Empty: the system has no groups.
	Group string
	// Join makes a source, a new member of the group. The source may join the group as late as in its first Accept. Nil: the
	// source is always finite, and JoinFinite is called instead. Cases that wait at the end of the log are then skipped.
	Join func() (source.Source, error)
	// Produce appends messages with key, value and headers to a partition. Required.
	Produce func(partition int32, msgs ...keystrand.Message) error
	// Plain returns a fetched message with key, value and headers as they were produced. Set it for a source whose messages have
	// another form, such as rows. The suite ignores the other fields of the result. It may call Plain from any goroutine, and
	// twice for one message: a result that has changed means that the source has reused bytes. Nil: as it was fetched.
	Plain func(fetched keystrand.Message) keystrand.Message

	// Skip moves the end of a partition without adding messages, for example by an aborted transaction. It returns the lowest
	// offset that the next message can get. Nil: the log cannot do that.
	Skip func(partition int32) (end int64, err error)
	// Recreate deletes all partitions and makes new, empty ones with the same names.
	// Nil: the log cannot do that, or the source cannot tell the two apart.
	Recreate func() error
	// JoinFinite is Join for a source that ends where the log ends now. Nil: the source is never finite. Either Join or
	// JoinFinite is required.
	JoinFinite func() (source.Source, error)
	// Crash ends a member as kill -9 ends its process: the member does not leave the group. Later calls of the source have to
	// return, with any result. Nil: a test cannot crash a member.
	Crash func(src source.Source) error
	// Lose revokes the partition, or all partitions, of a member that keeps running, as an expired session does.
	// Nil: the log cannot do that.
	Lose func(src source.Source, id source.ID) error

	// Alone reports that partitions never move between members: one member at a time owns all of them, and the next one joins
	// after it has left or crashed. Cases that need two members at once are skipped. Default: false.
	Alone bool
	// Withholds reports that the log never delivers settled messages again, so the source restores no progress. The suite then
	// judges commits by what the next owner fetches. Default: false.
	Withholds bool
	// NoNil reports that the log does not distinguish empty from nil: an empty key arrives as nil, and a nil value as an empty
	// one, or the other way round. Default: false.
	NoNil bool

	// Wait is how long a case waits before it fails because something hangs. It must exceed every delay of the log, including
	// session timeouts. Default: 60 s.
	Wait time.Duration
	// Patience is how long a case watches for something that must not happen. Default: 100 ms.
	Patience time.Duration
}

func (e Env) withDefaults() Env {
	e.Wait = cmp.Or(e.Wait, time.Minute)
	e.Patience = cmp.Or(e.Patience, 100*time.Millisecond)
	if e.ID == nil {
		stream := e.Stream
		e.ID = func(i int) (string, int32) { return stream, int32(i) }
	}
	if e.Plain == nil {
		e.Plain = func(m keystrand.Message) keystrand.Message { return m }
	}
	return e
}

// validate returns all errors of an Env.
func (e Env) validate() error {
	var errs []error
	if e.Stream == "" && e.ID == nil {
		errs = append(errs, errors.New("sourcetest: Env.Stream is empty, set the name of the stream, or Env.ID"))
	}
	if e.Partitions < 2 {
		errs = append(errs, fmt.Errorf("sourcetest: Env.Partitions is %d, want at least 2", e.Partitions))
	}
	if e.Join == nil && e.JoinFinite == nil || e.Produce == nil {
		errs = append(errs, errors.New("sourcetest: Env.Join or Env.Produce is nil, set both; for a source that is always finite, set JoinFinite instead of Join"))
	}
	if e.Wait < 0 || e.Patience < 0 {
		errs = append(errs, fmt.Errorf("sourcetest: Env.Wait is %v and Env.Patience %v, neither may be negative", e.Wait, e.Patience))
	}
	names := make(map[name]int)
	for i := 0; i < e.Partitions && e.ID != nil; i++ {
		n := e.name(i)
		if first, known := names[n]; known {
			errs = append(errs, fmt.Errorf("sourcetest: Env.ID returns %v for %d and for %d, return another name for each", n, first, i))
		}
		names[n] = i
	}
	return errors.Join(errs...)
}

// name is the name of a partition in the source, without an epoch.
type name struct {
	stream string
	number int32
}

// name returns the name of partition i.
func (e Env) name(i int) name {
	stream, number := e.ID(i)
	return name{stream, number}
}

// nameOf returns the name of the partition in an ID.
func nameOf(id source.ID) name { return name{id.Stream, id.Partition} }

// String returns stream/number.
func (n name) String() string { return fmt.Sprintf("%s/%d", n.stream, n.number) }

// MissingError says that a case did not run because its Env or source lacks an ability.
type MissingError struct{ Capability string }

// Error names the ability.
func (e *MissingError) Error() string { return "sourcetest: not tested: needs a " + e.Capability }

// needTwo returns a MissingError if only one member at a time can own partitions.
func (e Env) needTwo() error {
	return need(!e.Alone, "second member at the same time (Env.Alone is set)")
}

// endless returns a MissingError if the source is always finite.
func (e Env) endless() error {
	return need(e.Join != nil, "source that waits at the end of the log (Env.Join)")
}

// need returns a MissingError unless the ability is there.
func need(there bool, capability string) error {
	if there {
		return nil
	}
	return &MissingError{Capability: capability}
}
