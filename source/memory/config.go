package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Config configures a [Source]. The zero value is a well-behaved member of the group named "".
//
// The hooks are called without a lock held, from the goroutine that called the method they are about, so from several
// at once for different partitions. They may block: that is what a slow log looks like.
type Config struct {
	// Group is the name of the group that the source joins in each of its logs. Default: "".
	Group string

	// LeaveTimeout is how long the source waits for the Release of a partition that is asked back, then it is lost.
	// Default: 0, it waits for ever.
	LeaveTimeout time.Duration

	// CommitLimit bounds the encoded progress of one commit in bytes, as brokers do: what does not fit is replayed
	// after a crash, and Stored says so. Default: 0, no bound.
	CommitLimit int

	// Prefetch is what the source declares to hold back beside what was fetched, in bytes a partition. It really holds
	// nothing. Default: 0.
	Prefetch int

	// Moves is what the source answers to the question whether its partitions can go to another machine.
	// Default: false.
	Moves bool

	// FetchFault is asked for every offset that is about to be handed out. A batch ends before the first one it
	// refuses, and the Fetch that would begin there returns the error. Default: nil, no faults.
	FetchFault func(id source.ID, offset int64) error

	// BeforeCommit is called before progress is stored: its error is the commit's, and nothing is stored.
	// Default: nil.
	BeforeCommit func(ctx context.Context, id source.ID, p *commit.Progress) error

	// AfterCommit is called after progress was stored: its error is the commit's, as when the reply is lost.
	// Default: nil.
	AfterCommit func(ctx context.Context, id source.ID, p *commit.Progress) error
}

// validate returns everything that is wrong.
func (c Config) validate() error {
	var errs []error
	if c.LeaveTimeout < 0 {
		errs = append(errs, fmt.Errorf("memory: LeaveTimeout is %v, it must not be negative", c.LeaveTimeout))
	}
	if c.CommitLimit < 0 {
		errs = append(errs, fmt.Errorf("memory: CommitLimit is %d, it must not be negative", c.CommitLimit))
	}
	if c.Prefetch < 0 {
		errs = append(errs, fmt.Errorf("memory: Prefetch is %d, it must not be negative", c.Prefetch))
	}
	return errors.Join(errs...)
}
