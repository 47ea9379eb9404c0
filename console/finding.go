package console

import (
	"fmt"
	"time"

	"github.com/keystrand/keystrand/source"
)

// Finding is one sentence about a pipeline.
type Finding struct {
	Severity  Severity
	Text      string    // with its numbers
	Partition source.ID // the partition it is about; zero: the whole pipeline
	Key       string    // text of the lane it is about, as in pipeline.KeySnapshot; empty if it is about no key
	Since     time.Time // since when it is so; zero if that is not known
	Do        string    // what to do; empty if nothing has to be done
}

// Severity says how bad a finding is.
type Severity uint8

// The severities, worst first.
const (
	Failing Severity = iota // messages are not handled, are handled again, or will be after a crash
	Waiting                 // messages wait longer than they need
	Info                    // nothing is wrong
)

// String returns the severity, such as "failing".
func (s Severity) String() string {
	switch s {
	case Failing:
		return "failing"
	case Waiting:
		return "waiting"
	case Info:
		return "info"
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// MarshalText returns the text of String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
