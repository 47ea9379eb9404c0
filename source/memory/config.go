package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Config configures a [Source]. The zero value makes a member of the group named "", without faults.
//
// The hooks are called without a lock, from the goroutine that calls Fetch or Commit, so concurrently for different
// partitions. They may block, to simulate a slow log.
type Config struct {
	// Group is the name of the group that the source joins in each of its logs. Default: "".
	Group string

	// LeaveTimeout bounds the time from the request for a partition to its Release. Then the partition is lost.
	// Default: 0, no bound.
	LeaveTimeout time.Duration

	// CommitLimit bounds the encoded progress of one commit in bytes, as brokers do. Settled ranges that do not fit are not
	// stored and are handled again after a crash; commit.Stored counts them. If At of the progress does not fit, neither it nor
	// any range is stored. Default: 0, no bound.
	CommitLimit int

	// Moves is the result of the Moves method. Default: false.
	Moves bool

	// FetchFault is called for every offset before it is returned. A batch ends before the first offset with an error, and a
	// Fetch that starts at that offset returns the error. Default: nil, no faults.
	FetchFault func(id source.ID, offset int64) error

	// BeforeCommit is called before progress is stored. If it returns an error, Commit returns the error and stores nothing.
	// Default: nil.
	BeforeCommit func(ctx context.Context, id source.ID, p *commit.Progress) error

	// AfterCommit is called after progress is stored. If it returns an error, Commit returns the error, as after a lost reply.
	// Default: nil.
	AfterCommit func(ctx context.Context, id source.ID, p *commit.Progress) error
}

// validate returns all configuration errors.
func (c Config) validate() error {
	var errs []error
	if c.LeaveTimeout < 0 {
		errs = append(errs, fmt.Errorf("memory: LeaveTimeout is negative: %v", c.LeaveTimeout))
	}
	if c.CommitLimit < 0 {
		errs = append(errs, fmt.Errorf("memory: CommitLimit is negative: %d", c.CommitLimit))
	}
	return errors.Join(errs...)
}
