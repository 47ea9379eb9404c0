package pipeline

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Limits bound what a pipeline uses. The zero value of a field is its default; a negative one is an error.
type Limits struct {
	// Workers is how many turns run at once. Default: 256.
	Workers int
	// InFlight is how many messages may be fetched and not yet settled, over all partitions: waiting, running, parked
	// and on the way to a sink. Each partition may exceed it by the one batch that was under way. Half of it is split
	// among the partitions and never lent, half is shared on demand. Default: 20 for each
	// worker, at least 1,000.
	InFlight int
	// InFlightBytes is the same in bytes of keys, values and headers. A single larger message is let in alone.
	// Default: 256 MiB.
	InFlightBytes int
	// KeyShare is how many messages of one key may wait before its partition's fetching pauses. Default: a quarter of
	// InFlight.
	KeyShare int
	// MaxReplay is how many settled messages of a partition may stand beyond what its commits can express, so how many
	// a crash hands out again because of gaps; at the bound its fetching pauses. Messages in flight count, since they
	// may come to stand there, so it bounds them too. Default: 100,000.
	MaxReplay int
	// MaxBatch is how many messages a BatchHandler gets at most; at most 65,535. Default: 64.
	MaxBatch int
	// FetchMessages and FetchBytes bound one batch from the source; FetchBytes is at most InFlightBytes. Defaults: 256
	// and 1 MiB.
	FetchMessages int
	FetchBytes    int
	// Writers is how many writers of the sink work at once; at most 65,535. Default: 8.
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
	l.KeyShare = or(l.KeyShare, max(1, l.InFlight/4))
	l.MaxReplay = or(l.MaxReplay, 100_000)
	l.MaxBatch = or(l.MaxBatch, 64)
	l.FetchMessages = or(l.FetchMessages, 256)
	l.FetchBytes = min(or(l.FetchBytes, 1<<20), l.InFlightBytes) // so that a message larger than the budget comes alone
	l.Writers = or(l.Writers, 8)
	return l
}

// Timing sets how long things may take. The zero value of a field is its default; a negative one is an error.
type Timing struct {
	// CommitInterval is the time from commit to commit. A crash replays what was settled since the last one.
	// Default: 1 s.
	CommitInterval time.Duration
	// CommitTimeout bounds one commit, the last one too. Default: 10 s.
	CommitTimeout time.Duration
	// DrainTimeout is how long running handlers may go on when the pipeline stops or a partition leaves, before their
	// ctx ends. A partition that leaves has at most the time its source gives it. Default: 30 s.
	DrainTimeout time.Duration
	// StuckAfter is how long after its ctx has ended a handler counts as stuck: it is then logged, and with
	// AbandonStuck given up. Default: 5 s.
	StuckAfter time.Duration
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
	t.DrainTimeout = or(t.DrainTimeout, 30*time.Second)
	t.StuckAfter = or(t.StuckAfter, 5*time.Second)
	return t
}

func or[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
