package kafka

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// failing are the partitions whose writes fail now. All writers of a sink share it, so that a broker that is down is one line
// and not one for each writer and partition. It is safe for concurrent use.
type failing struct {
	some atomic.Bool // there are partitions

	mu         sync.Mutex
	partitions map[shardID]struct{} // guarded by mu
	most       int                  // partitions since the first one; guarded by mu
	told       time.Time            // of the last line about a failure; guarded by mu
}

// relog is the time between two lines about writes that fail.
const relog = time.Minute

// begins records that a write has failed, and logs that if no other write fails, or a minute later.
func (f *failing) begins(ctx context.Context, log *slog.Logger, s *shard, err error) {
	f.mu.Lock()
	now := time.Now()
	tell := len(f.partitions) == 0 || now.Sub(f.told) >= relog
	if tell {
		f.told = now
	}
	if f.partitions == nil {
		f.partitions = make(map[shardID]struct{})
	}
	f.partitions[s.shardID] = struct{}{}
	f.most = max(f.most, len(f.partitions))
	f.some.Store(true)
	f.mu.Unlock()
	if tell {
		log.LogAttrs(ctx, slog.LevelWarn, "kafka: write to partition failed; retrying", append(s.attrs(), slog.String("error", err.Error()))...)
	}
}

// ends records an answer that asks for no retry, and logs the end of the last failure.
func (f *failing) ends(ctx context.Context, log *slog.Logger, s *shard) {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	_, failed := f.partitions[s.shardID]
	delete(f.partitions, s.shardID)
	over, most := failed && len(f.partitions) == 0, f.most
	if over {
		f.most = 0
		f.some.Store(false)
	}
	f.mu.Unlock()
	if over {
		log.LogAttrs(ctx, slog.LevelInfo, "kafka: writes recovered", slog.Int("partitions", most))
	}
}
