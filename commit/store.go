package commit

import "context"

// Store keeps progress for sources whose service keeps none, or not enough of it. A store is shared by all processes that
// own partitions of the same streams.
//
// Its methods are called from any number of goroutines, for one partition from one at a time within a process; other
// processes call them at the same time. They may block, and return soon when ctx ends; then, and after any error but
// ErrFenced, the outcome is unknown.
type Store interface {
	// Claim makes a new owner of a partition: it stores an epoch that is at least epoch and greater than every one it
	// has stored for the partition, and returns the progress of the last Save with that new epoch in it. Where there is
	// none, the progress has frontier 0 and nothing else. After it, a Save with any earlier epoch is refused: both are
	// one atomic step against each other, also over processes.
	Claim(ctx context.Context, stream string, partition int32, epoch int64) (*Progress, error)

	// Save stores p, as a whole or not at all, and returns when it is durable. It answers an error that wraps ErrFenced
	// if p.Epoch is not the one that was claimed last.
	Save(ctx context.Context, stream string, partition int32, p *Progress) error
}
