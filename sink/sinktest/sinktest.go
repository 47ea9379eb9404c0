// Package sinktest is the contract of package sink as a test suite. A sink that passes it keeps what its writers report as
// durable, in order for each key. Every case says why it exists; every case was seen to fail with a sink that breaks it.
//
// A sink's own test:
//
//	func TestSinkKeepsItsContract(t *testing.T) {
//		sinktest.Run(t, func(t *testing.T) *sinktest.Env { … })
//	}
//
// The suite starts goroutines only within a case and sleeps nowhere, so the cases can run in a bubble of testing/synctest:
// then range over [Cases] and call [Case.Test] inside it, and a goroutine that outlives the sink's Close fails the case too.
//
// It does not promise to find every fault: a crash of the store, for one, is the test of the sink itself.
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Env is a fresh, empty sink and the ways around it. A case uses one and closes the sink.
type Env struct {
	// Sink is under test.
	Sink sink.Sink
	// Stored reads, around the sink, all that is durable now: in order for each key, and for each stream and partition.
	// Offsets and partitions may be the store's own.
	Stored func(ctx context.Context) ([]keystrand.Message, error)

	// Stream names where the messages go. Default: out.
	Stream string
	// Trouble, if not nil, makes the store fail soon for a while: at least one message of the next Write should not become
	// durable at first, and writing again should heal it. Without it the cases about failures are left out.
	Trouble func()
	// MaxBytes is the size from which a value is too large for the store; 0 if there is none, and the cases about that
	// are left out.
	MaxBytes int
	// NoHeaders and NoTime are for stores that keep none.
	NoHeaders, NoTime bool
	// EmptyIsNull is for stores that do not tell an empty key, value or header from none.
	EmptyIsNull bool
	// HeadersAreMap is for stores that keep one header of each name, in no order.
	HeadersAreMap bool
}

// Case is one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why says what a pipeline would do wrong with a sink that fails.
	Why string

	needs func(*Env) bool // nil: nothing
	run   func(ctx context.Context, env *Env) error
}

// Run runs every case as a subtest, each with an Env of its own.
func Run(t *testing.T, newEnv func(t *testing.T) *Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, newEnv(t)) })
	}
}

// Test runs the case as the test t: it fails with the reason, or is skipped where the Env lacks what the case needs.
func (c Case) Test(t *testing.T, env *Env) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if errors.Is(err, ErrNotTested) {
		t.Skip(err)
	}
	if err != nil {
		t.Errorf("%v\nwhy it counts: %s", err, c.Why)
	}
}

// Run runs the case and returns what the sink does wrong, or [ErrNotTested]. The sink is then closed, unless it failed.
func (c Case) Run(ctx context.Context, env *Env) error {
	if env.Stream == "" {
		env.Stream = "out"
	}
	if c.needs != nil && !c.needs(env) {
		return errors.Join(ErrNotTested, env.Sink.Close())
	}
	return c.run(ctx, env)
}

// ErrNotTested is what a case returns if its Env lacks what it needs.
var ErrNotTested = errors.New("sinktest: not tested, because the environment has no Trouble or no MaxBytes")

// Cases returns the suite.
func Cases() []Case {
	return []Case{
		{
			Name: "DurableWhenWritten",
			Why:  "The input is settled, and its offset committed, as soon as Write returns nil.",
			run:  durableWhenWritten,
		},
		{
			Name: "OrderPerKey",
			Why:  "Outputs of one key become durable in the order of their inputs.",
			run:  orderPerKey,
		},
		{
			Name: "NothingToWrite",
			Why:  "A transformer may emit nothing; that is durable at once.",
			run:  nothingToWrite,
		},
		{
			Name: "ContentIsKept",
			Why:  "Null and empty keys and values mean different things (a tombstone deletes), and headers carry traces.",
			run:  contentIsKept,
		},
		{
			Name: "MessagesBelongToTheCaller",
			Why:  "The pipeline uses the slice again for the next Write, and writes from it again after a failure.",
			run:  messagesBelongToTheCaller,
		},
		{
			Name:  "DurableComesBeforeTheRest",
			Why:   "What is reported durable is never written again; if it stood behind a gap, the gap would be filled too late.",
			needs: func(env *Env) bool { return env.Trouble != nil },
			run:   durableComesBeforeTheRest,
		},
		{
			Name:  "WritingTheRestAgainHeals",
			Why:   "Only what failed is written again. Then all is there, and no message overtakes one of its key.",
			needs: func(env *Env) bool { return env.Trouble != nil },
			run:   writingTheRestAgainHeals,
		},
		{
			Name:  "TooLargeIsPermanentAndAlone",
			Why:   "One message that can never be written must not make others fail, nor be tried for ever.",
			needs: func(env *Env) bool { return env.MaxBytes > 0 },
			run:   tooLargeIsPermanentAndAlone,
		},
		{
			Name: "EndedContextEndsWrite",
			Why:  "A drain has a deadline: a Write that ignores it holds up the hand-over of the partition.",
			run:  endedContextEndsWrite,
		},
		{
			Name: "WriteAfterEndedContextWorks",
			Why:  "A Write that was cut short says nothing about the next one.",
			run:  writeAfterEndedContextWorks,
		},
		{
			Name: "WritersWorkAtOnce",
			Why:  "A pipeline writes with several writers at the same time, each with its own lanes.",
			run:  writersWorkAtOnce,
		},
		{
			Name: "CloseEndsEverything",
			Why:  "Run must leave nothing behind. In a bubble, a goroutine that lives on fails the test.",
			run:  closeEndsEverything,
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
