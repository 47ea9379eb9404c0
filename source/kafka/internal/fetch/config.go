package fetch

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// Config configures readers. It is a value: copies are independent, but share the Transport and the Buffers.
type Config struct {
	// Cluster sends the requests. Required.
	Cluster metadata.Client
	// Log gets each change of state once. Default: nothing is logged.
	Log *slog.Logger

	// LogID is the identity of the log that the start offset belongs to. A reader that finds another one returns
	// ErrRecreated. Default: the identity found first.
	LogID string

	// MaxBytes bounds the records of one response; a single larger batch is returned alone. Default: 1 MiB.
	MaxBytes int
	// Buffers lends the memory of responses. Share one among all readers. Default: one of the reader's own.
	Buffers *buffer.Pool
	// Quota reports throttling. Share one among all readers. Default: one of the reader's own.
	Quota *Quota
	// Faults has the partitions whose fetches fail. Share one among all readers. Default: one of the reader's own.
	Faults *Faults
	// MaxWait is how long a broker may delay its response while there are no new records. Default: 500 ms.
	MaxWait time.Duration
	// RackID is where this process runs, so that a broker can name a nearer replica. Default: none.
	RackID string

	// OutOfRange is the policy for a position outside the log. Default: Fail.
	OutOfRange OutOfRange
	// OnReset is called when OutOfRange has moved the position, from the reader's goroutine. It must not block.
	// Default: none.
	OnReset func(from, to int64)
	// StallTimeout is how long the position may stay below the high watermark without moving before the reader counts as
	// stalled.
	// Default: 30 s.
	StallTimeout time.Duration
}

// OutOfRange is the policy for a position that is not in the log.
type OutOfRange uint8

const (
	// Fail returns an [*OutOfRangeError].
	Fail OutOfRange = iota
	// Earliest continues at the first offset.
	Earliest
	// Latest continues at the end.
	Latest
)

// MostBytes is the largest MaxBytes, and the largest request for a partition that makes no progress.
const MostBytes = 64 << 20

func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<20)
	c.Buffers = cmp.Or(c.Buffers, &buffer.Pool{})
	c.Quota = cmp.Or(c.Quota, &Quota{})
	c.Faults = cmp.Or(c.Faults, &Faults{})
	c.MaxWait = cmp.Or(c.MaxWait, 500*time.Millisecond)
	c.StallTimeout = cmp.Or(c.StallTimeout, 30*time.Second)
	return c
}

func (c Config) validate() error {
	errs := []error{c.Cluster.Validate()}
	if c.MaxBytes < 0 || c.MaxBytes > MostBytes {
		errs = append(errs, fmt.Errorf("MaxBytes is %d, must be 1 to %d", c.MaxBytes, MostBytes))
	}
	if c.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("MaxWait is negative: %v", c.MaxWait))
	}
	if c.StallTimeout < 0 {
		errs = append(errs, fmt.Errorf("StallTimeout is negative: %v", c.StallTimeout))
	}
	if c.OutOfRange > Latest {
		errs = append(errs, fmt.Errorf("unknown OutOfRange policy: %d", c.OutOfRange))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafka: fetch configuration: %w", err)
	}
	return nil
}
