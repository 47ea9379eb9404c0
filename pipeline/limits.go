package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/keystrand/keystrand/internal/settings"
)

// Limits bounds the resources of a pipeline. The zero value of a field is its default; a negative value is an error.
type Limits struct {
	// Workers is the maximum number of concurrent turns. Default: 256.
	Workers int
	// InFlight is the maximum number of messages fetched and not yet settled, over all partitions: waiting, running,
	// parked, or on the way to a sink. Each partition may exceed it by the one batch it was fetching. Half of it is
	// split among the partitions and reserved for them; the other half is shared on demand. Default: 20 for
	// each worker, at least 1,000.
	InFlight int
	// InFlightBytes is the same limit in bytes of keys, values and headers. A single larger message is admitted alone.
	// Default: 256 MiB.
	InFlightBytes int
	// PrefetchBytes is the maximum number of bytes that the source holds beside these, over all partitions: messages that it
	// has received and Fetch has not returned. A source may exceed it by what it documents; Pulsar has a limit of its own.
	// Default: a quarter of InFlightBytes.
	PrefetchBytes int
	// KeyShare is the number of messages of one key that may wait before its partition's fetching pauses. Default: a
	// quarter of InFlight.
	KeyShare int
	// MaxReplay is the maximum number of settled messages of a partition that a crash may replay because a commit
	// cannot express them. At the limit the partition's fetching pauses. Messages in flight count as well, since they
	// may settle ahead of the frontier. Default: 100,000.
	MaxReplay int
	// MaxBatch is the maximum number of messages in one call of a BatchHandler; at most 65,535. Default: 64.
	MaxBatch int
	// MaxBatchBytes is the maximum number of bytes of keys, values and headers in one call of a BatchHandler. A single larger
	// message is handled alone. Default: FetchBytes.
	MaxBatchBytes int
	// FetchMessages and FetchBytes limit one batch from the source; FetchBytes is at most InFlightBytes. Defaults: 256
	// and 1 MiB.
	FetchMessages int
	FetchBytes    int
	// DivertBytes is the maximum number of bytes in the store of Divert that this pipeline has, over all partitions it owns.
	// At the limit no further key is diverted, and partitions with diverted keys pause their fetching until an eighth is free.
	// Each may exceed it by the messages in flight. Default: 4 GiB.
	DivertBytes int64
	// Writers is the number of concurrent writers of the sink; at most 65,535. Default: 8.
	Writers int
}

func (l Limits) validate() error {
	var errs []error
	for name, n := range settings.Negative[int](l) {
		errs = append(errs, fmt.Errorf("pipeline: Limits.%s is %d: it must not be negative (0 means the default)", name, n))
	}
	for name, n := range settings.Negative[int64](l) {
		errs = append(errs, fmt.Errorf("pipeline: Limits.%s is %d: it must not be negative (0 means the default)", name, n))
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxBatch", l.MaxBatch}, {"Writers", l.Writers},
	} {
		if f.value > math.MaxUint16 {
			errs = append(errs, fmt.Errorf("pipeline: Limits.%s is %d: it must be at most %d", f.name, f.value, math.MaxUint16))
		}
	}
	return errors.Join(errs...)
}

func (l Limits) withDefaults() Limits {
	l.Workers = cmp.Or(l.Workers, 256)
	l.InFlight = cmp.Or(l.InFlight, max(1_000, 20*l.Workers))
	l.InFlightBytes = cmp.Or(l.InFlightBytes, 256<<20)
	l.PrefetchBytes = cmp.Or(l.PrefetchBytes, max(1, l.InFlightBytes/4))
	l.KeyShare = cmp.Or(l.KeyShare, max(1, l.InFlight/4))
	l.MaxReplay = cmp.Or(l.MaxReplay, 100_000)
	l.MaxBatch = cmp.Or(l.MaxBatch, 64)
	l.FetchMessages = cmp.Or(l.FetchMessages, 256)
	l.FetchBytes = min(cmp.Or(l.FetchBytes, 1<<20), l.InFlightBytes) // so that a message larger than the budget is fetched alone
	l.MaxBatchBytes = cmp.Or(l.MaxBatchBytes, l.FetchBytes)
	l.DivertBytes = cmp.Or(l.DivertBytes, 4<<30)
	l.Writers = cmp.Or(l.Writers, 8)
	return l
}

// Timing sets intervals and timeouts. The zero value of a field is its default; a negative value is an error.
type Timing struct {
	// CommitInterval is the time between commits. A crash replays the messages settled since the last one.
	// Default: 1 s.
	CommitInterval time.Duration
	// CommitTimeout limits each commit, including the last one. Default: 10 s.
	CommitTimeout time.Duration
	// DrainTimeout is how long running handlers may continue, before their ctx ends, when the pipeline stops or a
	// partition is released. A revoked partition has at most the time that its source allows. Default: 20 s,
	// which fits into the 30 s between the two signals of Kubernetes.
	DrainTimeout time.Duration
	// StuckAfter is how long after the end of its ctx a handler counts as stuck. It is then logged, and abandoned with
	// AbandonStuck. Default: 5 s.
	StuckAfter time.Duration
	// CloseTimeout limits the rest of a stop, once all handlers and Writes have ended: the last commits, the releases, and
	// closing the sink and the source. The wait for a sink in trouble, at most 2 s, is part of it, up to half of it. A call that
	// has not returned then, although its ctx has ended, is abandoned, and the error of Run names it. Default: 5 s.
	CloseTimeout time.Duration
}

func (t Timing) validate() error {
	var errs []error
	for name, d := range settings.Negative[time.Duration](t) {
		errs = append(errs, fmt.Errorf("pipeline: Timing.%s is %v: it must not be negative (0 means the default)", name, d))
	}
	return errors.Join(errs...)
}

func (t Timing) withDefaults() Timing {
	t.CommitInterval = cmp.Or(t.CommitInterval, time.Second)
	t.CommitTimeout = cmp.Or(t.CommitTimeout, 10*time.Second)
	t.DrainTimeout = cmp.Or(t.DrainTimeout, 20*time.Second)
	t.StuckAfter = cmp.Or(t.StuckAfter, 5*time.Second)
	t.CloseTimeout = cmp.Or(t.CloseTimeout, 5*time.Second)
	return t
}
