package keyed

import (
	"cmp"
	"errors"
	"fmt"
	"math"
)

// Config configures an [Executor].
type Config[T any] struct {
	// Workers is the maximum number of concurrent turns. Required; more than 0. See [Executor.SetWorkers].
	Workers int

	// MaxTurn is the maximum number of items in a turn, all of one lane. A turn takes the items that are there; it
	// never waits for more. At most 65,535. Default: 1.
	MaxTurn int

	// Share is the number of items that a lane may have before [Queue.AwaitShare] blocks. Default: 0, no bound.
	Share int

	// Run runs one turn on a worker's goroutine. Up to Workers calls run concurrently, never two for one lane. Run may
	// block: it then occupies one worker and delays only its lanes. The executor does not recover a panic in Run, so
	// the process ends. Required.
	Run func(t *Turn[T]) Result

	// Finish receives the items that leave their lanes by Result.Done. The executor passes each item exactly once:
	// after its turn, and before the next turn of its lanes starts. All items of a call are of one queue; items of one
	// lane come oldest first.
	//
	// Finish is called with no lock held, from a worker, from the executor's clock or from Complete, concurrently with
	// turns and with other calls of Finish. The slice is valid during the call, and the items must not be used after
	// it. Finish must return soon, since several lanes wait for it, and must not panic or call Goexit. Default: none.
	Finish func(q *Queue[T], items []*T)

	// Exited returns the Result of a turn whose Run called runtime.Goexit. It runs while that goroutine unwinds and
	// must return. Default: Result{Hold: true}, so the lane waits for Resume.
	Exited func(t *Turn[T]) Result

	// Idle is called with the scratch of a worker that starts to sleep, without a lock. Drop the scratch's references to
	// the last turn. Default: none.
	Idle func(scratch any)

	// Peek copies to dst the fields of a running item that [Queue.Lanes] may show. It is called during the item's turn
	// with a lock held: copy only a few fields that Run does not write. Default: the Head of a running lane
	// is zero, since copying memory that Run may be writing is a data race.
	Peek func(dst, item *T)
}

func (c Config[T]) withDefaults() Config[T] {
	c.MaxTurn = cmp.Or(c.MaxTurn, 1)
	if c.Exited == nil {
		c.Exited = func(*Turn[T]) Result { return Result{Hold: true} }
	}
	return c
}

func (c Config[T]) validate() error {
	var errs []error
	if c.Workers <= 0 {
		errs = append(errs, fmt.Errorf("keyed: Config.Workers is %d, must be more than 0", c.Workers))
	}
	if c.MaxTurn < 0 || c.MaxTurn > math.MaxUint16 {
		errs = append(errs, fmt.Errorf("keyed: Config.MaxTurn is %d, must be 0 (one item a turn) to %d", c.MaxTurn, math.MaxUint16))
	}
	if c.Share < 0 {
		errs = append(errs, fmt.Errorf("keyed: Config.Share is %d, must be 0 (no bound) or more", c.Share))
	}
	if c.Run == nil {
		errs = append(errs, errors.New("keyed: Config.Run is nil, set the function that runs a turn"))
	}
	return errors.Join(errs...)
}
