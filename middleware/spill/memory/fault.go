package memory

import (
	"context"

	"github.com/keystrand/keystrand/middleware/spill"
)

// Op is an operation of the store.
type Op uint8

// Operations.
const (
	Open Op = iota
	Append
	Read
	Save
)

// String returns "open", "append", "read" or "save".
func (op Op) String() string { return [...]string{"open", "append", "read", "save"}[op] }

// Call is an operation that a [Fault] is asked about.
type Call struct {
	Op    Op
	Owner spill.Owner
	// Records of Append, Key of Read and Marks of Save. A Fault must not change them.
	Records []spill.Record
	Key     string
	Marks   []spill.Mark
	// Stored reports that the operation is done, and its caller not told yet. An error now is a lost reply.
	Stored bool
}

// Fault is called twice for each operation, before it and after it succeeded, from the goroutine of the caller and without a
// lock. The operation fails with the error that Fault returns. Fault may block, to simulate a slow store, and should then
// return when ctx ends. A Fault must be safe for concurrent use.
type Fault func(ctx context.Context, c Call) error

// PartError makes a [Fault] that returns or wraps it, before Append or Save, store only the first N records or marks. The call
// then fails with Err.
type PartError struct {
	N   int
	Err error
}

// Error implements error.
func (e *PartError) Error() string { return "memory: stored in part: " + e.Err.Error() }

// Unwrap returns Err.
func (e *PartError) Unwrap() error { return e.Err }
