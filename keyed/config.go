package keyed

import (
	"errors"
	"fmt"
	"math"
)

// Config says how an [Executor] runs its items.
type Config[T any] struct {
	// Workers is how many turns run at once at most. Required; more than 0. See [Executor.SetWorkers].
	Workers int

	// MaxTurn is how many items of a lane one turn gets at most; a turn never waits for more than are there.
	// At most 65,535. Default: 1.
	MaxTurn int

	// Share is how many items a lane may have before [Queue.AwaitShare] blocks. Default: 0, no bound.
	Share int

	// Run is one turn, called on a worker's goroutine; up to Workers calls at once, never two for one lane. It may
	// block; that costs one worker and delays its lanes only. A panic in it is not caught: it ends the process.
	// Required.
	Run func(t *Turn[T]) Result

	// Finish is told the items that leave their lanes by Result.Done: exactly once each, after their turn and before
	// their lanes may start another one; of one queue, of one or several lanes, those of a lane oldest first. It is
	// called with no lock held, from a worker or from the executor's clock, concurrently with other turns and other
	// calls of Finish. The slice is valid during the call, and the items are gone when it has returned. It must return
	// (no panic, no Goexit), and soon: several lanes wait for it. Default: nobody is told.
	Finish func(q *Queue[T], items []*T)

	// Exited decides what a turn comes to whose Run ended its goroutine (runtime.Goexit). It is called while that
	// goroutine unwinds and must return. Default: Result{Hold: true}, the lane waits for Resume.
	Exited func(t *Turn[T]) Result

	// Peek copies to dst what [Queue.Lanes] may show of an item that a turn is running, while it runs. It is called
	// with a lock held: copy a few fields that nobody writes during the turn, no more. Default: the Head of a running
	// lane is left zero, since copying memory that Run may be writing is a data race.
	Peek func(dst, item *T)
}

func (c Config[T]) withDefaults() Config[T] {
	if c.MaxTurn == 0 {
		c.MaxTurn = 1
	}
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
		errs = append(errs, errors.New("keyed: Config.Run is missing, set the function that runs a turn"))
	}
	return errors.Join(errs...)
}
