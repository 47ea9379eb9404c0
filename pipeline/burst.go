package pipeline

import (
	"context"
	"log/slog"
	"time"

	"github.com/keystrand/keystrand/source"
)

// burst collects events of several partitions for one line of the log.
type burst struct {
	kind        burstKind
	cause       error // of a release
	ids         []source.ID
	first, last time.Time

	settled, redelivered int64         // messages of a release
	took                 time.Duration // the longest release
	err                  error         // of the last failed commit
}

// How long events are collected.
const (
	burstMost    = 5 * time.Second
	burstCommits = 1500 * time.Millisecond // the partitions commit at different moments
)

type burstKind uint8

const (
	burstAccepted burstKind = iota
	burstReleased
	burstCommitFailed
	burstCommitRecovered
	burstLastFailed
	burstStoreFailed
	burstStoreRecovered
)

func (b *burst) add(id source.ID) {
	b.ids = append(b.ids, id)
	b.last = time.Now()
}

// over reports whether no event is added any more.
func (b *burst) over(now time.Time) bool {
	switch b.kind {
	case burstCommitFailed, burstCommitRecovered, burstStoreFailed, burstStoreRecovered:
		return now.Sub(b.first) >= burstCommits
	case burstAccepted, burstReleased, burstLastFailed:
	}
	return now.Sub(b.last) >= reportTick || now.Sub(b.first) >= burstMost
}

func (b *burst) log(ctx context.Context, log *slog.Logger) {
	attrs := []slog.Attr{slog.Int("n", len(b.ids)), slog.String("partitions", rangesOf(b.ids))}
	switch b.kind {
	case burstAccepted:
		log.LogAttrs(ctx, slog.LevelInfo, "partitions accepted", attrs...)
	case burstReleased:
		log.LogAttrs(ctx, slog.LevelInfo, "partitions released", append(attrs, slog.Any("cause", b.cause), slog.Int64("settled", b.settled),
			slog.Int64("will_be_redelivered", b.redelivered), slog.Duration("took", b.took.Round(time.Millisecond)))...)
	case burstCommitFailed:
		log.LogAttrs(ctx, slog.LevelWarn, "commit failed; retrying at every tick", append(attrs, slog.Any("error", b.err))...)
	case burstCommitRecovered:
		log.LogAttrs(ctx, slog.LevelInfo, "commit recovered", attrs...)
	case burstLastFailed:
		log.LogAttrs(ctx, slog.LevelError, "last commit failed; messages settled since the previous commit will be redelivered", append(attrs, slog.Any("error", b.err))...)
	case burstStoreFailed:
		log.LogAttrs(ctx, slog.LevelWarn, "store of diverted keys failed; retrying, and the diverted keys wait", append(attrs, slog.Any("error", b.err))...)
	case burstStoreRecovered:
		log.LogAttrs(ctx, slog.LevelInfo, "store of diverted keys recovered", attrs...)
	}
}
