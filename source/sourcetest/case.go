package sourcetest

import (
	"context"
	"errors"
	"testing"
)

// Case is one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why says what goes wrong for users of a source that fails.
	Why string

	run func(ctx context.Context, h *harness) error
}

// Run runs every case as a subtest, each with an Env of its own.
func Run(t *testing.T, newEnv func(t *testing.T) Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, newEnv(t)) })
	}
}

// Cases returns all cases, from simple to hard. Where each is to run in a bubble of its own:
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

// Test runs the case as the test t: it fails with the reason, or is skipped where the Env lacks what the case needs.
func (c Case) Test(t *testing.T, env Env) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if missing, ok := errors.AsType[*MissingError](err); ok {
		t.Skip(missing)
	}
	if err != nil {
		t.Errorf("%v\nwhy it counts: %s", err, c.Why)
	}
}

// Run runs the case and returns what the source does wrong, or a [MissingError]. All members have left when it
// returns, unless they hang.
func (c Case) Run(ctx context.Context, env Env) error {
	if err := env.validate(); err != nil {
		return err
	}
	env = env.withDefaults()
	h := newHarness(env)
	running, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	err := c.run(running, h)
	// A case that hangs has used its time up; its members still get theirs to leave.
	leaving, cancel := context.WithTimeoutCause(ctx, env.Wait, errHangs)
	defer cancel()
	return errors.Join(err, h.stop(leaving), h.violations())
}
