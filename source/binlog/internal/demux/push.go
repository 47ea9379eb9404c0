package demux

import (
	"fmt"
	"time"
)

// verdict is what a table did with a push.
type verdict uint8

const (
	taken    verdict = iota // queued, or dropped because it came before or another reader has it
	refused                 // there is no room: nothing was done
	caughtUp                // taken, and from now on the shared reader has the rows
	gone                    // the table is over
)

// push queues chunks of one transaction, none or more, that a reader has read behind the transaction end before.
//
//   - own says that the reader is the table's own, not the shared one.
//   - end is the end of the transaction, nil if more of it is to come. Without a Place it is none where a restart can begin.
//   - told is the log's new state of the table, nil if it has not changed. It counts from the next end with a Place on.
func (t *table) push(own bool, chunks []chunk, before mark, end *mark, told *string) verdict {
	t.mu.Lock()
	v, news := t.pushLocked(own, chunks, before, end, told)
	t.mu.Unlock()
	if news {
		poke(t.wake)
	}
	return v
}

func (t *table) pushLocked(own bool, chunks []chunk, before mark, end *mark, told *string) (v verdict, news bool) {
	switch {
	case t.way == over:
		return gone, false
	case t.way == behind, own != (t.way == apart):
		if !own && len(chunks) > 0 {
			t.dropped = max(t.dropped, chunks[len(chunks)-1].after()-1)
		}
		if !own && end != nil && told != nil {
			t.dropped = max(t.dropped, end.Number)
		}
		return taken, false
	}
	if len(chunks) > 0 && chunks[len(chunks)-1].after() > t.next {
		chunks = behindNumber(chunks, t.next)
		size := sizeOf(chunks)
		if !t.ses.s.room(t.bytes, size) {
			return refused, false
		}
		t.markLocked(before)
		t.queue = append(t.queue, chunks...)
		t.next = chunks[len(chunks)-1].after()
		t.end = t.next
		t.holdsLocked(t.bytes + size)
		news = true
	}
	if end == nil {
		return taken, news
	}
	if told != nil {
		t.told, t.toldAt = *told, end.Number
	}
	if end.Place != "" {
		if t.toldAt > 0 && t.toldAt <= end.Number {
			t.state, t.toldAt = t.told, 0
		}
		t.markLocked(*end)
	}
	if own && t.dropped <= end.Number {
		t.way = shared
		return caughtUp, true
	}
	return taken, true
}

// isComplete reports whether the shared reader has dropped nothing behind a number.
func (t *table) isComplete(number int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped <= number
}

// markLocked adds a transaction end. All rows of the table up to it are in the queue.
func (t *table) markLocked(m mark) {
	if t.after != "" {
		return // a restart has to begin at the old place
	}
	m.State = t.state
	t.marks.add(m)
}

// behindNumber returns chunks without what is below a number. At least one is not.
func behindNumber(chunks []chunk, next int64) []chunk {
	for chunks[0].cut(next) {
		chunks = chunks[1:]
	}
	return chunks
}

// sizeOf returns the bytes of chunks.
func sizeOf(chunks []chunk) (sum int64) {
	for i := range chunks {
		c := &chunks[i]
		if c.bytes == 0 {
			for j := range c.rows {
				c.bytes += int64(c.rows[j].Size())
			}
			if c.ddl != nil {
				c.bytes += int64(c.ddl.Size())
			}
		}
		sum += c.bytes
	}
	return sum
}

// fallBehind ends the flow of rows from the shared reader at chunks for which there is no room, read behind a transaction end. It
// reports false if the flow has ended before.
func (t *table) fallBehind(chunks []chunk, before mark) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way != shared {
		return false
	}
	t.way, t.since, t.refused = behind, time.Now(), t.bytes > 0
	t.from, t.dropped = before, chunks[len(chunks)-1].after()-1
	return true
}

// yield ends the flow of rows from the table's own reader, which has read up to a transaction end.
func (t *table) yield(last mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way == apart {
		t.way, t.from, t.refused = behind, last, t.bytes > 0
	}
}

// begins returns where a reader of its own begins. It reports false if the table needs none.
func (t *table) begins() (mark, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way != behind {
		return mark{}, false
	}
	t.way = apart
	return t.from, true
}

// drained reports whether a reader of the table's own would make progress: Fetch has made room since the last one was refused,
// and at most half of it is used.
func (t *table) drained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.refused && t.bytes <= int64(t.ses.s.cfg.TableBytes/2)
}

// stop ends the table at a fault, behind the rows that are queued. number is that of the next row. Fetch returns a final fault
// and blocks at any other. stop reports false if the table has ended before, has settled the fault, or meets it later.
func (t *table) stop(own bool, number int64, err error, final bool) bool {
	t.mu.Lock()
	stops := t.stopLocked(own, number, err, final)
	t.mu.Unlock()
	poke(t.wake)
	return stops
}

func (t *table) stopLocked(own bool, number int64, err error, final bool) bool {
	switch {
	case t.way == over, number < t.next:
		return false
	case t.way == behind, own != (t.way == apart):
		if !own {
			t.dropped = max(t.dropped, number)
		}
		return false
	}
	t.way, t.fault, t.final, t.since = over, err, final, time.Now()
	return true
}

// passes reports whether a reader at a transaction end has passed the place up to which the table decides by place what is
// settled. It returns that place.
func (t *table) passes(own bool, last mark) (passed bool, after Place, err error) {
	t.mu.Lock()
	after = t.after
	t.mu.Unlock()
	if after == "" {
		return true, "", nil
	}
	passed, err = t.ses.s.log.Reached(last.Place, after)
	if err != nil {
		return false, after, fmt.Errorf("compare places of %s: %w", t.id.Stream, err)
	}
	if !passed {
		return false, after, nil
	}
	t.mu.Lock()
	if t.after != "" && (!own && t.way == shared || own && t.way == apart) { // a stopped table keeps its place
		t.after = ""
		t.markLocked(last)
	}
	t.mu.Unlock()
	poke(t.wake)
	return true, after, nil
}
