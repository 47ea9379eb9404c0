package keystrand

import "errors"

// Causes of a canceled handler ctx, returned by [context.Cause].
var (
	// ErrStopping is the cause when Run is ending, because its ctx was canceled or because of an error, and the time to drain
	// is over.
	ErrStopping = errors.New("keystrand: the pipeline is stopping")
	// ErrLeaving is the cause when the source asked for the partition and the time to drain it is over.
	ErrLeaving = errors.New("keystrand: the partition is leaving: the source asked for it back")
	// ErrLost is the cause when the partition was lost. Another owner may already handle its messages.
	ErrLost = errors.New("keystrand: the partition is lost: another process may own it")
)
