package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// calls has the calls of the source and the sinks that Run waits for now. Calls for each message or batch are not among
// them, unless their ctx has ended.
type calls struct {
	mu    sync.Mutex
	under []*call // guarded by mu
}

// call is one of them.
type call struct {
	name   string
	since  time.Time
	waits  bool      // it may wait while the pipeline runs
	logged time.Time // when it was last logged; zero: never
}

// A call is logged after callPatience, and every callRepeat.
const (
	callPatience = 1500 * time.Millisecond
	callRepeat   = time.Minute
)

// begin records a call until the returned function is called.
func (c *calls) begin(name string) (end func()) {
	return c.record(&call{name: name, since: time.Now()})
}

// beginWait is begin for a call that may wait as long as the pipeline runs.
func (c *calls) beginWait(name string) (end func()) {
	return c.record(&call{name: name, since: time.Now(), waits: true})
}

func (c *calls) record(x *call) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under = append(c.under, x)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.under = slices.DeleteFunc(c.under, func(y *call) bool { return y == x })
	}
}

// stopped makes a call that may wait while the pipeline runs one that should return.
func (c *calls) stopped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.under {
		if x.waits {
			x.waits, x.since = false, time.Now()
		}
	}
}

// listOf lists at most ten names.
func listOf(names []string) string {
	const most = 10
	if n := len(names) - most; n > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:most], ", "), n)
	}
	return strings.Join(names, ", ")
}

// hanging returns the calls that have lasted for least, or all if none has: of several calls, the one that has just begun
// holds nothing up.
func (c *calls) hanging(least time.Duration) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, x := range c.under {
		all = append(all, x.name)
		if time.Since(x.since) >= least {
			names = append(names, x.name)
		}
	}
	if len(names) == 0 {
		return all
	}
	return names
}

// hangs returns the oldest call of the store of one partition that has not returned after callPatience, and its start.
func (c *calls) hangs(of string, now time.Time) (name string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.under { // oldest first
		if now.Sub(x.since) >= callPatience && strings.HasSuffix(x.name, of) {
			return x.name, x.since
		}
	}
	return "", time.Time{}
}

// late returns the calls that must be logged now, and the start of the oldest.
func (c *calls) late(now time.Time) (names []string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.under {
		if x.waits || now.Sub(x.since) < callPatience || !x.logged.IsZero() && now.Sub(x.logged) < callRepeat {
			continue
		}
		x.logged = now
		names = append(names, x.name)
		if since.IsZero() || x.since.Before(since) {
			since = x.since
		}
	}
	return names, since
}

// log logs the calls that do not return. They are an error after stuckAfter.
func (c *calls) log(ctx context.Context, log *slog.Logger, now time.Time, stuckAfter time.Duration) {
	if names, since := c.late(now); len(names) > 0 {
		level := slog.LevelWarn
		if now.Sub(since) >= stuckAfter {
			level = slog.LevelError
		}
		log.LogAttrs(ctx, level, "a call has not returned; waiting",
			slog.String("call", listOf(names)), slog.Duration("for", now.Sub(since).Round(time.Millisecond)))
	}
}
