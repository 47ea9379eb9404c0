package commit

import "context"

// Store keeps the progress of a source if the source's own service cannot keep all of it. All processes that own partitions
// of the same streams share one Store. Package commit/sql is one in a database. Package commit/storetest tests a store of your
// own.
//
// Its methods are called from any number of goroutines. Within a process, calls for one partition never overlap; calls
// from other processes may. Methods may block, but must return soon after ctx ends. After an error other than ErrFenced
// the outcome is unknown.
type Store interface {
	// Claim begins a new ownership of a partition. It stores an epoch that is at least epoch and greater than every
	// epoch stored for the partition before. It returns the progress of the last Save, with the new epoch in it;
	// without a Save, that is the zero Progress with the epoch.
	//
	// After Claim, every Save with an earlier epoch fails. Claim and Save are atomic with respect to each other, across
	// processes too.
	Claim(ctx context.Context, stream string, partition int32, epoch int64) (*Progress, error)

	// Save stores p with all of its fields, completely or not at all, and returns when p is durable. The error wraps ErrFenced if p.Epoch is
	// not the last claimed epoch.
	Save(ctx context.Context, stream string, partition int32, p *Progress) error
}
