// Package sinktest tests whether a sink keeps the contract of package sink. A sink that passes stores every message that its
// writers report as durable, in order for each key. Each case gives its reason.
//
// The test of a sink:
//
//	func TestSinkKeepsItsContract(t *testing.T) {
//		sinktest.Run(t, func(t *testing.T) *sinktest.Env { … })
//	}
//
// The suite does not sleep, and its goroutines end with their case, so each case can run in a bubble of testing/synctest:
// range over [Cases] and call [Case.Test] in the bubble. There a goroutine that outlives Close of the sink fails the case too.
//
// The suite does not find every fault. A crash of the store, for example, needs a test beside the sink.
package sinktest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Env is a new, empty sink with the facts that cases need. Each case needs an Env of its own and closes the sink.
type Env struct {
	// Sink is the sink under test. Required.
	Sink sink.Sink
	// Stored reads all durable messages from the store, not through the sink: in order for each key, and for each stream and
	// partition. The store may assign offsets and partitions of its own. Required.
	Stored func(ctx context.Context) ([]keystrand.Message, error)

	// Stream is the stream of all messages that the suite writes. Default: out.
	Stream string
	// Trouble makes the store fail for a while: in the next Write at least one message should not become durable, and writing
	// it again should succeed in the end. Nil: the cases about failures are skipped.
	Trouble func()
	// MaxBytes is the size in bytes from which a value is too large for the store. 0: there is no limit, and the cases about it
	// are skipped.
	MaxBytes int
	// NoHeaders and NoTime report that the store does not keep headers, or times. Default: false.
	NoHeaders, NoTime bool
	// EmptyIsNull reports that the store does not distinguish empty keys, values and headers from nil. Default: false.
	EmptyIsNull bool
	// HeadersAreMap reports that the store keeps one header of each name, in any order. Default: false.
	HeadersAreMap bool
}

// Case tests one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why describes how a pipeline depends on the clause.
	Why string

	needs func(*Env) bool // reports whether the Env has the fields that the case needs; nil: it needs none
	run   func(ctx context.Context, env *Env, w sink.Writer) error
	over  func(*Env) error // runs after the sink is closed; may be nil
}

// Run runs every case as a subtest, each with a new Env.
func Run(t *testing.T, newEnv func(t *testing.T) *Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, newEnv(t)) })
	}
}

// Test runs the case in the test t. It fails t with the reason, and skips t if the Env lacks a field that the case needs.
func (c Case) Test(t *testing.T, env *Env) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if errors.Is(err, ErrNotTested) {
		t.Skip(err)
	}
	if err != nil {
		t.Errorf("%v\nwhy it matters: %s", err, c.Why)
	}
}

// Run runs the case. It returns an error that describes a broken promise, or [ErrNotTested]. It closes the sink, unless the sink
// fails.
func (c Case) Run(ctx context.Context, env *Env) error {
	env.Stream = cmp.Or(env.Stream, "out")
	if c.needs != nil && !c.needs(env) {
		return errors.Join(ErrNotTested, env.Sink.Close())
	}
	err := env.with(func(w sink.Writer) error { return c.run(ctx, env, w) })
	if err == nil && c.over != nil {
		err = c.over(env)
	}
	return err
}

// ErrNotTested is the error of a case that did not run because its Env lacks Trouble or MaxBytes, or has NoTime.
var ErrNotTested = errors.New("sinktest: not tested: needs Env.Trouble or Env.MaxBytes, or a store of times")

// Cases returns all cases.
func Cases() []Case {
	return []Case{
		{
			Name: "DurableWhenWritten",
			Why:  "When Write returns nil, the pipeline settles the input and commits its offset.",
			run:  durableWhenWritten,
		},
		{
			Name: "OrderPerKey",
			Why:  "Outputs of one key have to become durable in the order of their inputs.",
			run:  orderPerKey,
		},
		{
			Name: "NothingToWrite",
			Why:  "A transformer may emit nothing, so Write may get no messages.",
			run:  nothingToWrite,
		},
		{
			Name: "ContentIsKept",
			Why:  "Nil and empty keys and values differ in meaning (a nil value deletes a key), and headers carry traces.",
			run:  contentIsKept,
		},
		{
			Name:  "TimeIsKeptOrRefused",
			Why:   "A time that a store changes in silence is found when it is too late, for example because the store deletes by it.",
			needs: func(env *Env) bool { return !env.NoTime },
			run:   timeIsKeptOrRefused,
		},
		{
			Name: "MessagesBelongToTheCaller",
			Why:  "The pipeline reuses the slice for the next Write, and writes the same messages again after a failure.",
			run:  messagesBelongToTheCaller,
		},
		{
			Name:  "DurableComesBeforeTheRest",
			Why:   "The pipeline does not write a durable message again. An earlier message of its key that was not durable would be stored behind it.",
			needs: func(env *Env) bool { return env.Trouble != nil },
			run:   durableComesBeforeTheRest,
		},
		{
			Name:  "WritingTheRestAgainHeals",
			Why:   "The pipeline writes only the failed messages again. Then all have to be stored, and none before an earlier one of its key.",
			needs: func(env *Env) bool { return env.Trouble != nil },
			run:   writingTheRestAgainHeals,
		},
		{
			Name:  "TooLargeIsPermanentAndAlone",
			Why:   "A message that can never be written must neither make others fail nor be retried for ever.",
			needs: func(env *Env) bool { return env.MaxBytes > 0 },
			run:   tooLargeIsPermanentAndAlone,
		},
		{
			Name: "EndedContextEndsWrite",
			Why:  "A drain has a deadline. A Write that ignores it delays the hand-over of the partition.",
			run:  endedContextEndsWrite,
		},
		{
			Name: "WriteAfterEndedContextWorks",
			Why:  "A Write whose ctx ended must not break the next one.",
			run:  writeAfterEndedContextWorks,
		},
		{
			Name: "WritersWorkAtOnce",
			Why:  "A pipeline uses several writers at the same time, each for its own lanes.",
			run:  writersWorkAtOnce,
		},
		{
			Name: "CloseEndsEverything",
			Why:  "Run must leave no goroutine behind. In a bubble, a goroutine that outlives the sink fails the test.",
			run:  closeEndsEverything,
			over: closedOpensNothing,
		},
	}
}

// with opens a writer, runs f and closes both.
func (env *Env) with(f func(w sink.Writer) error) (err error) {
	w, err := env.Sink.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		if cerr := w.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close the writer: %w", cerr)
		}
		if cerr := env.Sink.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close the sink: %w", cerr)
		}
	}()
	return f(w)
}
