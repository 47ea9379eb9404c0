package pipeline

import (
	"errors"
	"fmt"
	"math"
	"time"
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
	// FetchMessages and FetchBytes limit one batch from the source; FetchBytes is at most InFlightBytes. Defaults: 256
	// and 1 MiB.
	FetchMessages int
	FetchBytes    int
	// Writers is the number of concurrent writers of the sink; at most 65,535. Default: 8.
	Writers int
}

func (l Limits) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"Workers", l.Workers},
		{"InFlight", l.InFlight},
		{"InFlightBytes", l.InFlightBytes},
		{"PrefetchBytes", l.PrefetchBytes},
		{"KeyShare", l.KeyShare},
		{"MaxReplay", l.MaxReplay},
		{"MaxBatch", l.MaxBatch},
		{"FetchMessages", l.FetchMessages},
		{"FetchBytes", l.FetchBytes},
		{"Writers", l.Writers},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("pipeline: Limits.%s is %d: it must not be negative (0 means the default)", f.name, f.value))
		}
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
	l.Workers = or(l.Workers, 256)
	l.InFlight = or(l.InFlight, max(1_000, 20*l.Workers))
	l.InFlightBytes = or(l.InFlightBytes, 256<<20)
	l.PrefetchBytes = or(l.PrefetchBytes, max(1, l.InFlightBytes/4))
	l.KeyShare = or(l.KeyShare, max(1, l.InFlight/4))
	l.MaxReplay = or(l.MaxReplay, 100_000)
	l.MaxBatch = or(l.MaxBatch, 64)
	l.FetchMessages = or(l.FetchMessages, 256)
	l.FetchBytes = min(or(l.FetchBytes, 1<<20), l.InFlightBytes) // so that a message larger than the budget is fetched alone
	l.Writers = or(l.Writers, 8)
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
	// closing the sink and the source. The wait for a sink in trouble, 2 s, is part of it. A call that has not returned then,
	// although its ctx has ended, is abandoned, and the error of Run names it. Default: 5 s.
	CloseTimeout time.Duration
}

func (t Timing) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"CommitInterval", t.CommitInterval},
		{"CommitTimeout", t.CommitTimeout},
		{"DrainTimeout", t.DrainTimeout},
		{"StuckAfter", t.StuckAfter},
		{"CloseTimeout", t.CloseTimeout},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("pipeline: Timing.%s is %v: it must not be negative (0 means the default)", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

func (t Timing) withDefaults() Timing {
	t.CommitInterval = or(t.CommitInterval, time.Second)
	t.CommitTimeout = or(t.CommitTimeout, 10*time.Second)
	t.DrainTimeout = or(t.DrainTimeout, 20*time.Second)
	t.StuckAfter = or(t.StuckAfter, 5*time.Second)
	t.CloseTimeout = or(t.CloseTimeout, 5*time.Second)
	return t
}

func or[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
