package fetch

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// ErrClosed is the error of Read after Close.
var ErrClosed = errors.New("kafka: the reader is closed")

// OutOfRangeError is the error of a position that is not in the log: records were deleted before they were read
// (Offset < First), or the log was cut or replaced (Offset > Last). It is returned with policy Fail, and with every policy
// if the position would go back. Then the caller starts again at an offset from the cluster.
type OutOfRangeError struct {
	Topic               string
	Partition           int32
	Offset, First, Last int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("kafka: topic %s partition %d: offset %d is out of range: the log has %d to %d, "+
		"since records were deleted before they were read, or the log was cut: set OutOfRange to earliest or latest",
		e.Topic, e.Partition, e.Offset, e.First, e.Last)
}

// CorruptError is the error of data that cannot be decoded: a wrong checksum, an unknown codec, a malformed record. All
// records before Offset were returned, and the position is Offset.
type CorruptError struct {
	Topic     string
	Partition int32
	Offset    int64
	Intact    bool // the checksum is right: the producer wrote the data so
	Err       error
}

func (e *CorruptError) Error() string {
	advice := "check the disks of the brokers, or start behind that batch"
	if e.Intact {
		advice = "its checksum is right, so its producer wrote it so: start behind that batch"
	}
	return fmt.Sprintf("kafka: topic %s partition %d: corrupt data at offset %d: %v: %s", e.Topic, e.Partition, e.Offset, e.Err, advice)
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
	return metadata.Fatal(err)
}
