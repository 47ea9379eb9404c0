package sourcetest

import (
	"context"
	"errors"
	"testing"
)

// Case tests one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why describes how a pipeline fails on a source that fails the case.
	Why string

	run func(ctx context.Context, h *harness) error
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

// Run runs the case. It returns an error that describes a broken promise, or a [MissingError]. Before it returns, all members leave, except
// those that hang.
func (c Case) Run(ctx context.Context, env Env) error {
	if err := env.validate(); err != nil {
		return err
	}
	env = env.withDefaults()
	h := newHarness(env)
	running, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	err := c.run(running, h)
	// The members get as much time again to leave, even if the case has used up its own.
	leaving, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	return errors.Join(err, h.stop(leaving), h.violations())
}
