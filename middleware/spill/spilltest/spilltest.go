// Package spilltest tests whether a store keeps the contract of package spill. A store that passes loses no record that it has
// reported as durable, returns records in the order of their offsets, and lets only the last owner of a partition change them.
// Each case gives its reason.
//
// The test of a store:
//
//	func TestStoreKeepsItsContract(t *testing.T) {
//		spilltest.Run(t, func(t *testing.T) *spilltest.Env { … })
//	}
//
// The suite does not sleep, and its goroutines end with their case, so each case can run in a bubble of testing/synctest:
// range over [Cases] and call [Case.Test] in the bubble.
//
// The suite does not find every fault. A full disk, for example, needs a test beside the store.
package spilltest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
)

// Env is a new, empty store. Each case needs an Env of its own.
type Env struct {
	// Open opens the store, as a process does that starts. Before it calls Open again, a case closes what it had, unless the
	// store is shared. Required.
	Open func() (spill.Store, error)
	// Kill starts a process that calls [AppendNumbered] on the store with this epoch, kills it after it has reported at least n
	// Appends, while an Append is under way, and returns how many were reported. The suite has no store open then. Nil: the
	// case about it is skipped.
	Kill func(ctx context.Context, epoch int64, n int) (int, error)
	// Stream is the stream of all owners. Default: in.
	Stream string

	store spill.Store // the one that is open, if it is not shared
}

// Case tests one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why describes how a pipeline depends on the clause.
	Why string

	run func(ctx context.Context, env *Env) error
}

// ErrNotTested is the error of a case that did not run because its Env lacks Kill.
var ErrNotTested = errors.New("spilltest: not tested: needs Env.Kill")

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

// Run runs the case. It returns an error that describes a broken promise, or [ErrNotTested]. It closes the store.
func (c Case) Run(ctx context.Context, env *Env) error {
	if env.Stream == "" {
		env.Stream = "in"
	}
	return errors.Join(c.run(ctx, env), env.closeStore())
}

// open opens the store, if it is not open, and a log.
func (env *Env) open(ctx context.Context, o spill.Owner) (spill.Log, map[string]spill.Strand, error) {
	if env.store == nil {
		s, err := env.Open()
		if err != nil {
			return nil, nil, fmt.Errorf("open the store: %w", err)
		}
		env.store = s
	}
	l, strands, err := env.store.Open(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("open %+v: %w", o, err)
	}
	by := make(map[string]spill.Strand, len(strands))
	for _, s := range strands {
		if _, twice := by[s.Key]; twice {
			return nil, nil, fmt.Errorf("open returned the strand %q twice", s.Key)
		}
		by[s.Key] = s
	}
	return l, by, nil
}

// restart closes log and store, and opens both again with the next epoch.
func (env *Env) restart(ctx context.Context, l spill.Log, o *spill.Owner) (spill.Log, map[string]spill.Strand, error) {
	if err := l.Close(); err != nil {
		return nil, nil, fmt.Errorf("close the log: %w", err)
	}
	if err := env.closeStore(); err != nil {
		return nil, nil, err
	}
	o.Epoch++
	return env.open(ctx, *o)
}

func (env *Env) closeStore() error {
	s := env.store
	env.store = nil
	if s == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// with opens a log of partition 0, runs f and closes the log.
func (env *Env) with(ctx context.Context, f func(l spill.Log) error) error {
	l, strands, err := env.open(ctx, env.owner(1))
	if err != nil {
		return err
	}
	if len(strands) > 0 {
		return errors.Join(fmt.Errorf("a new store has the strands %v", strands), l.Close())
	}
	return errors.Join(f(l), l.Close())
}

func (env *Env) owner(epoch int64) spill.Owner {
	return spill.Owner{Stream: env.Stream, Epoch: epoch, Log: "log-1"}
}
