package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// Case tests one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why describes how a pipeline fails on a source that fails the case.
	Why string

	run func(ctx context.Context, h *harness) // fails by check, must or fail
}

// Run runs every case as a subtest, each with a new Env.
func Run(t *testing.T, newEnv func(t *testing.T) Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, newEnv(t)) })
	}
}

// Cases returns all cases, the simple ones first. To run each in a bubble of its own:
//
//	for _, c := range sourcetest.Cases() {
//		t.Run(c.Name, func(t *testing.T) {
//			synctest.Test(t, func(t *testing.T) { c.Test(t, newEnv(t)) })
//		})
//	}
func Cases() []Case {
	var all []Case
	all = append(all, acceptCases()...)
	all = append(all, fetchCases()...)
	all = append(all, commitCases()...)
	return append(all, handoverCases()...)
}

// Test runs the case in the test t. It fails t with the reason, and skips t if the Env lacks an ability.
func (c Case) Test(t *testing.T, env Env) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if missing, ok := errors.AsType[*MissingError](err); ok {
		t.Skip(missing)
	}
	if err != nil {
		t.Errorf("%v\nwhy it matters: %s", err, c.Why)
	}
}

// Run runs the case. It returns an error that describes a broken promise, or a [MissingError]. Before it returns, all members
// leave, except those that hang.
func (c Case) Run(ctx context.Context, env Env) error {
	if err := env.validate(); err != nil {
		return err
	}
	env = env.withDefaults()
	h := newHarness(env)
	running, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	err := attempt(func() { c.run(running, h) })
	// The members get as much time again to leave, even if the case has used up its own.
	leaving, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	return errors.Join(err, h.stop(leaving), h.violations())
}

// failure ends a case: check, must and fail panic with it, so that a case reads as a list of steps. Only the goroutine of the
// case may call them.
type failure struct{ err error }

// attempt runs a case, and returns the error that has ended it.
func attempt(run func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			err = v.err
		default:
			panic(v)
		}
	}()
	run()
	return nil
}

// check ends the case if err is not nil.
func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// must returns v, or ends the case if err is not nil.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// fail ends the case with an error.
func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }
