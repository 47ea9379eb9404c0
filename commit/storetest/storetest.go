// Package storetest tests whether a store keeps the contract of [commit.Store]. With a store that passes, a restart begins where
// the last commit of a source was, and nothing that a former owner of a partition saves counts. Each case gives its reason.
//
// The test of a store:
//
//	func TestStoreKeepsItsContract(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Env { … })
//	}
//
// The suite does not sleep, and its goroutines end with their case, so each case can run in a bubble of testing/synctest:
// range over [Cases] and call [Case.Test] in the bubble. It never asserts how long something takes: a call that has not returned
// Env.Wait after the end of its ctx is taken to hang.
//
// The suite does not find every fault. Damaged progress and a full disk, for example, need tests beside the store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Env is a new, empty store. Each case needs an Env of its own.
type Env struct {
	// Open opens the store, as a process does that starts. Stores that it returned before stay in use: they are other
	// processes. Required.
	Open func() (commit.Store, error)
	// Kill starts a process that calls [SaveNumbered] on the store, kills it after it has reported at least n Saves, while a
	// Save is under way, and returns how many were reported. Nil: the case about it is skipped.
	Kill func(ctx context.Context, n int) (int, error)
	// Stall lets the store stop answering, as a server does that is frozen, until resume is called. Nil: the case about it is
	// skipped.
	Stall func() (resume func(), err error)
	// Wait is how long a call may take after the end of its ctx. Default: 10 s.
	Wait time.Duration
	// Stream is the stream of most cases. Default: in.
	Stream string
}

// Case tests one clause of the contract.
type Case struct {
	// Name is the name of the subtest.
	Name string
	// Why describes how a source fails on a store that fails the case.
	Why string

	run func(ctx context.Context, env *Env) error
}

// ErrNotTested is in the error of a case that did not run because its Env lacks a field.
var ErrNotTested = errors.New("storetest: not tested")

// Run runs every case as a subtest, each with a new Env.
func Run(t *testing.T, newEnv func(t *testing.T) Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Test(t, newEnv(t)) })
	}
}

// Test runs the case in the test t. It fails t with the reason, and skips t if the Env lacks a field that the case needs.
func (c Case) Test(t *testing.T, env Env) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if errors.Is(err, ErrNotTested) {
		t.Skip(err)
	}
	if err != nil {
		t.Errorf("%v\nwhy it matters: %s", err, c.Why)
	}
}

// Run runs the case. It returns an error that describes a broken promise, or one that wraps [ErrNotTested].
func (c Case) Run(ctx context.Context, env Env) error {
	if env.Stream == "" {
		env.Stream = "in"
	}
	if env.Wait == 0 {
		env.Wait = 10 * time.Second
	}
	return c.run(ctx, &env)
}

// process is a process that uses the store, for one partition.
type process struct {
	commit.Store

	stream    string
	partition int32
}

// process opens the store.
func (env *Env) process() (process, error) {
	s, err := env.Open()
	if err != nil {
		return process{}, fmt.Errorf("open the store: %w", err)
	}
	return process{s, env.Stream, 0}, nil
}

// at returns the process for another partition.
func (p process) at(stream string, partition int32) process {
	return process{p.Store, stream, partition}
}

func (p process) claim(ctx context.Context, epoch int64) (*commit.Progress, error) {
	got, err := p.Claim(ctx, p.stream, p.partition, epoch)
	if err != nil {
		return nil, fmt.Errorf("claim %.50q/%d with epoch %d: %w", p.stream, p.partition, epoch, err)
	}
	if got == nil {
		return nil, fmt.Errorf("claim %.50q/%d with epoch %d: got no progress and no error", p.stream, p.partition, epoch)
	}
	return got, nil
}

func (p process) save(ctx context.Context, g *commit.Progress) error {
	if err := p.Save(ctx, p.stream, p.partition, g); err != nil {
		return fmt.Errorf("save %.50q/%d at frontier %d with epoch %d: %w", p.stream, p.partition, g.Frontier, g.Epoch, err)
	}
	return nil
}

// claims claims the partition, and returns an error unless it has the progress of want, with a new epoch. It returns the epoch.
func (p process) claims(ctx context.Context, want *commit.Progress) (int64, error) {
	got, err := p.claim(ctx, 0)
	if err != nil {
		return 0, err
	}
	w := *want
	w.Epoch = got.Epoch
	if textOf(got) != textOf(&w) {
		return 0, fmt.Errorf("claim of %.50q/%d returned\n%.300s, want\n%.300s", p.stream, p.partition, fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", w))
	}
	return got.Epoch, nil
}

// refused returns an error unless a Save is refused because its owner is a former one.
func (p process) refused(ctx context.Context, what string, g *commit.Progress) error {
	if err := p.Save(ctx, p.stream, p.partition, g); !errors.Is(err, commit.ErrFenced) {
		return fmt.Errorf("%s: got the error %w, want one that wraps commit.ErrFenced", what, nonNil(err))
	}
	return nil
}

// textOf returns all of a progress as a text.
func textOf(p *commit.Progress) string {
	text, _ := commit.Encode(p, 0)
	return text
}

// progress returns one whose fields differ for each frontier.
func progress(epoch, frontier int64) *commit.Progress {
	return &commit.Progress{
		Log: fmt.Sprint("log-", frontier), Epoch: epoch, Frontier: frontier, At: strings.Repeat("at", int(frontier&3)),
		Ahead: []commit.Range{{From: frontier + 2, To: frontier + 3 + frontier%5}, {From: frontier + 20, To: frontier + 21}},
	}
}

func nonNil(err error) error {
	if err == nil {
		return errNil
	}
	return err
}

var errNil = errors.New("nil")
