package fetch

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/source"
)

// watch publishes the state of the fetcher, and detects a stall of its position.
type watch struct {
	topic     string
	partition int32
	limit     time.Duration

	end   atomic.Int64                   // what can be read ends here, -1 while not known; written by the fetcher, like the others
	high  atomic.Int64                   // the high watermark, -1 while not known
	id    atomic.Pointer[string]         // identity of the log
	since atomic.Int64                   // Unix time in ns of the start of a stall, 0 if there is none
	why   atomic.Int32                   // a stall
	fault atomic.Pointer[source.Trouble] // why fetches fail, nil while they work

	position int64     // at the last check; used by the fetcher, like the next
	shaken   int64     // Unix time in ns of the last true of check, 0 if there was none
	answered time.Time // the last response that has the partition
	absent   bool      // the last response lacks the partition
}

// stall is why a position may be stalled.
type stall int32

const (
	stallNone   stall = iota
	stallBelow        // the position is below the end
	stallOpen         // an open transaction holds back the messages above the position
	stallAbsent       // responses lack the partition
)

func newWatch(topic string, partition int32, limit time.Duration) *watch {
	w := &watch{topic: topic, partition: partition, limit: limit, position: -1}
	w.forget()
	return w
}

// forgetAfter is how long an end stays known while responses lack the partition.
const forgetAfter = 10 * time.Second

// see records the end and the high watermark of a response that has the partition.
func (w *watch) see(end, high int64) {
	w.end.Store(end)
	w.high.Store(high)
	w.answered, w.absent = time.Now(), false
}

// miss records a response without the partition: as good as none.
func (w *watch) miss() {
	w.absent = true
	if time.Since(w.answered) >= forgetAfter {
		w.forget()
	}
}

// forget makes the ends unknown.
func (w *watch) forget() {
	w.end.Store(-1)
	w.high.Store(-1)
}

// stalled reports whether the position is stalled. It is called from any goroutine.
func (w *watch) stalled() bool {
	since := w.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= w.limit
}

// rest is called before a time without requests, which is no stall.
func (w *watch) rest() { w.since.Store(0) }

// check is called after each request. It reports whether the position has not moved for the limit although there are messages
// above it, so that another connection may help, and does so again each time the limit has passed. While no Read is called,
// no request ends and nothing stalls.
func (w *watch) check(ctx context.Context, log *slog.Logger, position int64) (shake bool) {
	why := w.reason(position)
	if position != w.position || why != stall(w.why.Load()) {
		if w.shaken != 0 {
			w.log(ctx, log, slog.LevelInfo, "kafka: partition no longer stalled", slog.Int64("offset", position))
		}
		w.position, w.shaken = position, 0
		w.why.Store(int32(why))
		w.since.Store(0)
		return false
	}
	if why == stallNone {
		return false
	}
	now := time.Now().UnixNano()
	since := w.since.Load()
	if since == 0 {
		w.since.Store(now)
		return false
	}
	if time.Duration(now-max(since, w.shaken)) < w.limit {
		return false
	}
	if w.shaken == 0 {
		text := "kafka: partition stalled below its end; renewing connection and route"
		switch why {
		case stallOpen:
			text = "kafka: open transaction holds messages back; find it with kafka-transactions.sh find-hanging"
		case stallAbsent:
			text = "kafka: responses lack the partition; renewing connection and route"
		case stallNone, stallBelow:
		}
		w.log(ctx, log, slog.LevelWarn, text, slog.Int64("offset", position), slog.Int64("end", w.end.Load()),
			slog.Int64("high_watermark", w.high.Load()), slog.Duration("for", time.Duration(now-since).Round(time.Millisecond)))
	}
	w.shaken = now
	return why != stallOpen
}

// throttled is called instead of check after a throttled response. Throttling is no stall, but a transaction may stay open
// meanwhile.
func (w *watch) throttled(ctx context.Context, log *slog.Logger, position int64) {
	why := w.reason(position)
	if why == stallAbsent && stall(w.why.Load()) == stallOpen && position == w.position {
		return // such responses come between others
	}
	if why != stallOpen {
		w.rest()
		defer w.rest()
	}
	if why != stallAbsent {
		w.check(ctx, log, position)
	}
}

func (w *watch) reason(position int64) stall {
	switch end := w.end.Load(); {
	case w.absent:
		return stallAbsent
	case position < end:
		return stallBelow
	case end >= 0 && w.high.Load() > end:
		return stallOpen
	}
	return stallNone
}

// troubles returns what keeps the partition from being read now. It is called from any goroutine.
func (w *watch) troubles(position int64) (all []source.Trouble) {
	if t := w.fault.Load(); t != nil {
		all = append(all, *t)
	}
	if !w.stalled() {
		return all
	}
	t := source.Trouble{What: "read", Since: time.Unix(0, w.since.Load())}
	switch stall(w.why.Load()) {
	case stallOpen:
		t.What = "read committed"
		t.Err = fmt.Errorf("topic %s partition %d: reads stand at offset %d before an open transaction, and the log ends at %d: "+
			"end the transaction, or find it with kafka-transactions.sh find-hanging --topic %s --partition %d and abort it",
			w.topic, w.partition, position, w.high.Load(), w.topic, w.partition)
	case stallBelow:
		t.Err = fmt.Errorf("topic %s partition %d: brokers return nothing at offset %d, and the log ends at %d",
			w.topic, w.partition, position, w.end.Load())
	case stallAbsent:
		t.Err = fmt.Errorf("topic %s partition %d: responses lack the partition", w.topic, w.partition)
	case stallNone:
		return all
	}
	return append(all, t)
}

func (w *watch) log(ctx context.Context, log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("stream", w.topic), slog.Int("partition", int(w.partition))}, attrs...)
	log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // all messages are constants of this file
}
