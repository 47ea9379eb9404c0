package fetch

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
)

// ErrClosed is the error of Read after Close.
var ErrClosed = errors.New("kafka: the reader is closed")

// OutOfRangeError says that a position is not in the log: records were deleted before they were read (Offset < First),
// or the log was cut or replaced (Offset > Last). It is returned with policy Fail, and with every policy when going on
// would mean going back: then the caller begins anew with an offset from [Offsets].
type OutOfRangeError struct {
	Topic               string
	Partition           int32
	Offset, First, Last int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("kafka: topic %s partition %d: offset %d is out of range, the log holds %d to %d: "+
		"records were deleted before they were read, or the log was cut; choose where to go on (earliest or latest)",
		e.Topic, e.Partition, e.Offset, e.First, e.Last)
}

// CorruptError says that the data at Offset cannot be read: a checksum that does not match, a codec nobody knows, a
// record that is not one. Everything before Offset was returned; the position stands at it.
type CorruptError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("kafka: topic %s partition %d: the data at offset %d cannot be read: %v "+
		"(check the disks of the brokers, or begin behind that batch)", e.Topic, e.Partition, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// final reports whether an error ends the reader.
func final(err error) bool {
	if _, ok := errors.AsType[*OutOfRangeError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*CorruptError](err); ok {
		return true
	}
	return cluster.Fatal(err)
}
