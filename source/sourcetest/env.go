package sourcetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// Env is a log for one case: one stream, empty, and one group without members. Its functions are called from one
// goroutine, may block as long as they need, and return when what they do is visible to the members. What has to be
// taken down afterwards belongs into the t.Cleanup of the function that makes the Env.
type Env struct {
	// Stream is the name of the stream. Required.
	Stream string
	// Partitions is how many partitions it has, numbered from 0. Required, at least 2.
	Partitions int
	// Join makes a source that is a new member of the group; it may join as late as in its first Accept. Required.
	Join func() (source.Source, error)
	// Produce appends messages with key, value and headers to a partition. Required.
	Produce func(partition int32, msgs ...keystrand.Message) error

	// Skip moves the end of a partition without messages, by an aborted transaction or as the log knows it, and
	// returns the offset that the next message will get at the earliest. Nil: this log cannot.
	Skip func(partition int32) (end int64, err error)
	// Recreate deletes the stream and makes it again with the same name and partitions: empty, another log.
	// Nil: this log cannot, or the source cannot tell.
	Recreate func() error
	// JoinFinite is Join with a source that ends where the log ends now. Nil: the source is never finite.
	JoinFinite func() (source.Source, error)
	// Crash ends a member as the death of its process would, without a word to the group. Its calls may return
	// anything from now on, but return. Nil: not in this process.
	Crash func(src source.Source) error
	// Lose takes a partition, or all, from a member that goes on, as when its session expires. Nil: this log cannot.
	Lose func(src source.Source, id source.ID) error

	// Alone reports that partitions never move between members: one member at a time owns all of them, and the next one joins
	// after it has left or crashed. Cases that need two members at once are skipped. Default: false.
	Alone bool
	// Withholds: the log itself never sends again what is settled, so the progress that a source restores is empty. What
	// was committed shows in what the next owner fetches.
	Withholds bool
	// NoNil: the log does not tell an empty key or value from none. An empty key comes as nil, a nil value as empty.
	NoNil bool

	// Wait ends a case that hangs. It must be above anything the log needs, sessions that expire included.
	// Default: 60 s.
	Wait time.Duration
	// Patience is how long a case looks whether something happens that must not. Default: 100 ms.
	Patience time.Duration
}

func (e Env) withDefaults() Env {
	if e.Wait == 0 {
		e.Wait = time.Minute
	}
	if e.Patience == 0 {
		e.Patience = 100 * time.Millisecond
	}
	return e
}

// validate returns everything that is wrong.
func (e Env) validate() error {
	var errs []error
	if e.Stream == "" {
		errs = append(errs, errors.New("sourcetest: Env.Stream is empty"))
	}
	if e.Partitions < 2 {
		errs = append(errs, fmt.Errorf("sourcetest: Env.Partitions is %d, want at least 2", e.Partitions))
	}
	if e.Join == nil || e.Produce == nil {
		errs = append(errs, errors.New("sourcetest: Env.Join and Env.Produce are required"))
	}
	if e.Wait < 0 || e.Patience < 0 {
		errs = append(errs, errors.New("sourcetest: Env.Wait and Env.Patience must not be negative"))
	}
	return errors.Join(errs...)
}

// MissingError is what a case returns that needs what its Env or source does not have.
type MissingError struct{ Capability string }

// Error names what is missing.
func (e *MissingError) Error() string {
	return "sourcetest: not tested, because there is no " + e.Capability
}

// needTwo returns a MissingError if only one member at a time can own partitions.
func (e Env) needTwo() error {
	return need(!e.Alone, "second member at the same time (Env.Alone is set)")
}

// need returns a MissingError unless there is what a case needs.
func need(there bool, capability string) error {
	if there {
		return nil
	}
	return &MissingError{Capability: capability}
}
