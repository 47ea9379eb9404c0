package middleware

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/keystrand/keystrand"
)

// LogConfig configures [Log]. The zero value is the default.
type LogConfig struct {
	// Success logs every successful turn at level Debug. Default: false.
	Success bool
}

// Log logs one line for each turn that returns an error:
//
//   - level Error for a failure;
//   - level Warn for a retry;
//   - level Info for a skip, and for an error after the ctx was canceled, which is not a failure;
//   - level Debug for a message that [keystrand.Later] postpones.
//
// The line has the stream, partition, offset, key (quoted, cut to 64 bytes), attempt, duration, outcome and error. The key is
// that of the message, whatever the key function returns; the pipeline's own log names the lane, for Pipeline.Resume.
//
// For a batch, the line also has the number of messages. If a [keystrand.BatchError] names a message, the line has the offset
// and attempt of that message. Otherwise it has first_offset and last_offset instead of offset, and the largest attempt among
// the messages.
//
// Log never logs the value or the headers. It does not filter the handler's error.
//
// The returned error is the unchanged error of the turn. A successful turn costs two clock reads and no allocation.
func Log(log *slog.Logger, cfg LogConfig) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		if log == nil {
			panic(errors.New("middleware: Log: the logger is nil"))
		}
		return func(ctx context.Context, c *keystrand.Call) error {
			start := time.Now()
			err := next(ctx, c)
			if err != nil || cfg.Success {
				logTurn(ctx, log, c, time.Since(start), err)
			}
			return err
		}
	}
}

func logTurn(ctx context.Context, log *slog.Logger, c *keystrand.Call, took time.Duration, err error) {
	outcome, delay := keystrand.OutcomeOf(err)
	level := levelOf(ctx, outcome)
	if !log.Enabled(ctx, level) || len(c.Messages) == 0 {
		return
	}
	first, last := c.Messages[0], c.Messages[len(c.Messages)-1]
	attrs := make([]slog.Attr, 0, 14)
	attrs = append(attrs, slog.String("stream", first.Stream), slog.Int64("partition", int64(first.Partition)))
	m, batch := culprit(c, err)
	attempt := attemptOf(c.Messages)
	if m != nil {
		attempt = int(m.Attempt)
		attrs = append(attrs, slog.Int64("offset", m.Offset))
	} else {
		attrs = append(attrs, slog.Int64("first_offset", first.Offset), slog.Int64("last_offset", last.Offset))
	}
	attrs = append(attrs,
		slog.String("key", quoteKey(first.Key)),
		slog.Int("attempt", attempt),
		slog.Duration("duration", took),
		slog.String("outcome", outcome.String()))
	if outcome == keystrand.OutcomeRetry || outcome == keystrand.OutcomePostponed {
		attrs = append(attrs, slog.Duration("delay", delay))
	}
	if n := len(c.Messages); n > 1 {
		attrs = append(attrs, slog.Int("messages", n))
	}
	if batch != nil {
		attrs = append(attrs, slog.Int("settled", batch.Settled))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if p, ok := errors.AsType[*keystrand.PanicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	switch {
	case outcome == keystrand.OutcomeHandled:
		log.LogAttrs(ctx, level, "message handled", attrs...)
	case level == slog.LevelInfo && outcome != keystrand.OutcomeSkipped:
		log.LogAttrs(ctx, level, "turn canceled", attrs...)
	case outcome == keystrand.OutcomeSkipped:
		log.LogAttrs(ctx, level, "message skipped", attrs...)
	case outcome == keystrand.OutcomePostponed:
		log.LogAttrs(ctx, level, "message postponed", attrs...)
	case outcome == keystrand.OutcomeRetry:
		log.LogAttrs(ctx, level, "message failed; retrying", attrs...)
	default:
		log.LogAttrs(ctx, level, "message failed", attrs...)
	}
}

func levelOf(ctx context.Context, o keystrand.Outcome) slog.Level {
	switch {
	case o == keystrand.OutcomeHandled:
		return slog.LevelDebug
	case o == keystrand.OutcomeSkipped || ctx.Err() != nil: // an error after the ctx was canceled is not a failure
		return slog.LevelInfo
	case o == keystrand.OutcomePostponed:
		return slog.LevelDebug
	case o == keystrand.OutcomeRetry:
		return slog.LevelWarn
	}
	return slog.LevelError
}

const maxKeyBytes = 64

// quoteKey returns a key, quoted and cut to maxKeyBytes, that is safe to log. Keys may be binary, long, or crafted to forge a
// log line.
func quoteKey(key []byte) string {
	switch {
	case key == nil:
		return "none"
	case len(key) > maxKeyBytes:
		return strconv.Quote(string(key[:maxKeyBytes])) + "..."
	}
	return strconv.Quote(string(key))
}
