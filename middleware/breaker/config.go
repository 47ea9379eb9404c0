package breaker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keystrand/keystrand"
)

// Config configures a breaker. The zero value is the default.
type Config struct {
	// Name names the breaker in the log and in errors, such as the service that the handler calls. Default: "breaker".
	Name string
	// Logger gets one line for each change of the state: level Warn when the breaker opens, Info when it is half-open or closes.
	// Default: none.
	Logger *slog.Logger
	// Failures is the number of failures in a row that open the breaker. It must not be more than the MaxAttempts of
	// middleware.Retry. Default: 5.
	Failures int
	// Trip replaces Failures. It is called after each failure while the breaker is closed and reports whether the breaker opens.
	// It must neither block nor call the handler. Default: none.
	Trip func(gobreaker.Counts) bool
	// Window is the time over which Trip gets counts, in ten steps. Default: all the time since the breaker closed.
	Window time.Duration
	// OpenFor is how long the breaker is open before it lets probes through. The messages that wait come again within a quarter
	// of it after its end. Default: 30s.
	OpenFor time.Duration
	// Probes is the number of turns that run while the breaker is half-open. It closes when all have succeeded. Default: 3.
	Probes int
	// IsFailure reports whether an error counts as a failure. One that does not counts as neither failure nor success, and is
	// returned unchanged. It is called for errors with the outcomes Failed and Retry only, from many goroutines. Default: all
	// count.
	IsFailure func(err error) bool
}

func (cfg Config) withDefaults() Config {
	cfg.Name = cmp.Or(cfg.Name, "breaker")
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Failures = cmp.Or(cfg.Failures, 5)
	if cfg.Trip == nil {
		failures := cfg.Failures
		cfg.Trip = func(n gobreaker.Counts) bool { return int64(n.ConsecutiveFailures) >= int64(failures) }
	}
	cfg.OpenFor = cmp.Or(cfg.OpenFor, 30*time.Second)
	cfg.Probes = cmp.Or(cfg.Probes, 3)
	if cfg.IsFailure == nil {
		cfg.IsFailure = func(error) bool { return true }
	}
	return cfg
}

const mostProbes = 1 << 20

// validate lists the mistakes in cfg, as the user set it.
func (cfg Config) validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf("breaker: Config."+format, args...))
		}
	}
	bad(cfg.Failures < 0, "Failures is %d: it must not be negative (0 means the default)", cfg.Failures)
	bad(cfg.Failures != 0 && cfg.Trip != nil, "Failures is %d and Trip is set: set one of them", cfg.Failures)
	bad(cfg.Window < 0, "Window is %v: it must not be negative (0 means all the time)", cfg.Window)
	bad(cfg.Window > 0 && cfg.Window < 10, "Window is %v: it must be 10ns or more", cfg.Window)
	bad(cfg.Window != 0 && cfg.Trip == nil, "Window is %v and Trip is not set: failures in a row have no window", cfg.Window)
	bad(cfg.OpenFor < 0, "OpenFor is %v: it must not be negative (0 means the default)", cfg.OpenFor)
	bad(cfg.OpenFor > 0 && cfg.OpenFor < time.Millisecond, "OpenFor is %v: it must be 1ms or more", cfg.OpenFor)
	bad(cfg.Probes < 0 || cfg.Probes > mostProbes, "Probes is %d: it must be from 1 to %d (0 means the default)", cfg.Probes, mostProbes)
	return errors.Join(errs...)
}

// verdict says how a turn counts.
type verdict uint8

const (
	success verdict = iota
	failure
	neither
)

// judge returns how a turn that returned err counts. left reports whether the ctx of the turn has ended.
func (cfg *Config) judge(err error, left bool) verdict {
	if left && err != nil {
		return neither
	}
	outcome, _ := keystrand.OutcomeOf(err)
	switch outcome {
	case keystrand.OutcomeHandled:
		return success
	case keystrand.OutcomeFailed, keystrand.OutcomeRetry:
		if cfg.IsFailure(err) {
			return failure
		}
	case keystrand.OutcomeSkipped, keystrand.OutcomePostponed, keystrand.OutcomePermanent:
	}
	return neither
}
