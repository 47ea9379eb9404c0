package keystrand

import "errors"

// The reasons for which a handler's ctx ends, as [context.Cause] gives them.
var (
	// ErrStopping: Run was asked to end, and the time to drain is over.
	ErrStopping = errors.New("keystrand: the pipeline is stopping")
	// ErrLeaving: the partition goes to another owner, and the time to drain it is over.
	ErrLeaving = errors.New("keystrand: the partition is leaving")
	// ErrLost: the partition is lost; another owner may handle its messages already.
	ErrLost = errors.New("keystrand: the partition is lost")
)
