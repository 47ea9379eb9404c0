package fetch

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Faults has the partitions whose fetches fail now. It logs the first of them, again each minute, and once that all have
// recovered.
//
// A Faults is safe for concurrent use. Its methods do not block.
type Faults struct {
	mu     sync.Mutex
	failed map[*fetcher]bool
	since  time.Time
	logged time.Time
}

// fails records that the fetches of a partition fail.
func (f *Faults) fails(ctx context.Context, of *fetcher, err error) {
	now := time.Now()
	f.mu.Lock()
	if len(f.failed) == 0 {
		f.failed, f.since, f.logged = make(map[*fetcher]bool), of.failed, time.Time{}
	}
	f.failed[of] = true
	n, tell := len(f.failed), now.Sub(f.logged) >= time.Minute
	if tell {
		f.logged = now
	}
	f.mu.Unlock()
	if tell {
		of.log(ctx, slog.LevelWarn, "kafka: fetch failed; retrying", slog.Any("error", err), slog.Int("partitions", n))
	}
}

// works records that the fetches of a partition do not fail any more.
func (f *Faults) works(ctx context.Context, of *fetcher) {
	f.mu.Lock()
	was := f.failed[of]
	delete(f.failed, of)
	last, since := was && len(f.failed) == 0, f.since
	f.mu.Unlock()
	if last {
		of.log(ctx, slog.LevelInfo, "kafka: fetch recovered", slog.Int("attempts", of.failures), slog.Duration("after", time.Since(since).Round(time.Millisecond)))
	}
}

// forget removes a partition that is not fetched any more.
func (f *Faults) forget(of *fetcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failed, of)
}
