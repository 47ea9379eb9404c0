package demux

import (
	"context"
	"fmt"
	"slices"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// Fetch implements [source.Partition]. A statement comes alone. It is handed out once the progress up to it is stored, and what
// follows once the progress behind it is stored. At a fault of this table alone, Fetch blocks until the table leaves or ctx ends.
func (t *table) Fetch(ctx context.Context, b *source.Batch) error {
	if b.MaxMessages < 1 || b.MaxBytes < 1 {
		return fmt.Errorf("%s: fetch of %v: limits of %d messages and %d bytes, want at least 1 each",
			t.ses.s.cfg.Package, t.id, b.MaxMessages, b.MaxBytes)
	}
	for {
		switch {
		case t.tenure.Over():
			return source.ErrLeaving
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		moved, hungry, err := t.hand(b)
		if err != nil {
			return fmt.Errorf("%s: fetch of %v at offset %d: %w", t.ses.s.cfg.Package, t.id, b.Next, err)
		}
		if moved {
			return nil
		}
		t.await(ctx, hungry)
	}
}

// await waits until there may be something to hand out, or ctx ends. hungry: the table waits for the shared reader.
func (t *table) await(ctx context.Context, hungry bool) {
	if hungry {
		t.ses.s.hungry.Add(1)
		defer t.ses.s.hungry.Add(-1)
	}
	select {
	case <-t.wake:
	case <-ctx.Done():
	}
}

// hand appends messages to b and moves the position. If it does neither, hungry reports whether the shared reader could help.
func (t *table) hand(b *source.Batch) (moved, hungry bool, err error) {
	first, from := len(b.Messages), t.position.Load()
	if t.at == len(t.mine) {
		_, _ = t.swap() // what it returns counts once nothing is handed out
	}
	next := t.fill(b, from)
	hungry, err = t.swap()
	if t.at == len(t.mine) {
		next = max(next, t.reach)
	}
	t.position.Store(next)
	b.Next = next
	if len(b.Messages) > first || next > from {
		return true, false, nil
	}
	return false, hungry, err
}

// mostReused is the most chunks whose memory an idle table keeps.
const mostReused = 1024

// swap gives back the room of what was handed out and, once that is all, takes the queue. If nothing is queued, it returns the
// final fault behind the queue, and whether the table gets its rows from the shared reader.
func (t *table) swap() (hungry bool, fault error) {
	t.mu.Lock()
	if t.given > 0 {
		t.refused = false
		t.holdsLocked(max(0, t.bytes-t.given)) // it is 0 if the table was lost meanwhile
	}
	if t.at == len(t.mine) {
		clear(t.mine)
		t.mine, t.queue, t.at = t.queue, t.mine[:0], 0
		t.reach = t.marks.last().Number + 1
		if len(t.mine) == 0 {
			hungry = t.way == shared
			if t.final {
				fault = t.fault
			}
			if t.idle && max(cap(t.mine), cap(t.queue)) > mostReused {
				t.mine, t.queue = nil, nil
			}
		}
	}
	waits := t.way == behind
	t.mu.Unlock()
	if t.given > 0 {
		t.given = 0
		poke(t.roomed)
		if waits {
			t.ses.schedule()
		}
	}
	return hungry, fault
}

// fill appends messages from mine to b, and returns the position behind them.
func (t *table) fill(b *source.Batch, next int64) int64 {
	first, bytes, stored := len(b.Messages), 0, t.stored.Load()
	for t.at < len(t.mine) {
		c := &t.mine[t.at]
		if t.hold > stored || len(b.Messages)-first == b.MaxMessages {
			return next
		}
		if c.ddl != nil {
			if c.first > stored || !t.meets(c) { // the first holds after any message in b
				return max(next, c.first)
			}
			t.append(b, c, c.first, c.ddl)
			t.hold, t.definition = c.first+1, nil
			t.done(c)
			return t.hold
		}
		if !c.sealed {
			binlog.Seal(c.rows, t.definition != nil && t.definition != c.rows[0].Table)
			t.definition, c.sealed = c.rows[0].Table, true
		}
		for len(c.rows) > 0 && len(b.Messages)-first < b.MaxMessages {
			row := &c.rows[0]
			bytes += row.Size()
			if bytes > b.MaxBytes && len(b.Messages) > first {
				return next
			}
			t.append(b, c, c.first, row)
			c.rows, c.first = c.rows[1:], c.first+1
			next = c.first
		}
		if len(c.rows) == 0 {
			t.done(c)
		}
	}
	return next
}

// done records that a chunk is handed out.
func (t *table) done(c *chunk) {
	t.given += c.bytes
	t.at++
}

// append appends a message, which it fills in place because a Message is large.
func (t *table) append(b *source.Batch, c *chunk, offset int64, native keystrand.Native) {
	at := len(b.Messages)
	if at == cap(b.Messages) {
		b.Messages = slices.Grow(b.Messages, min(256, b.MaxMessages))
	}
	b.Messages = b.Messages[:at+1]
	b.Messages[at] = keystrand.Message{
		Stream: t.id.Stream, Partition: t.id.Partition, Offset: offset, Time: c.time, Native: native,
	}
}
