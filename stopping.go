package keystrand

import "errors"

// Causes of a canceled handler ctx, returned by [context.Cause].
var (
	// ErrStopping is the cause when Run is ending, because its ctx was canceled or because of an error, and the time to drain
	// is over.
	ErrStopping = errors.New("keystrand: the pipeline is stopping")
	// ErrLeaving is the cause when the partition is revoked and the time to drain it is over.
	ErrLeaving = errors.New("keystrand: the source revoked the partition")
	// ErrLost is the cause when the partition was lost. Another owner may already handle its messages.
	ErrLost = errors.New("keystrand: the partition is lost: another process may own it")
)
