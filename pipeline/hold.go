package pipeline

import (
	"strings"

	"github.com/keystrand/keystrand/keyed"
)

// holdLater is why a key cannot be held yet: the strand of the previous owner has no pump.
const holdLater = "the messages stored by the previous owner are still being fetched"

// hold diverts the key of the turn's item at index done, from that item on, and holds it. It returns why it cannot: then the
// policy acts as Block.
func (d *divert) hold(t *keyed.Turn[item], done int, cause error) (refused string) {
	it := t.Items[done]
	lanes, barrier := t.Lanes()
	var lane string
	switch {
	case barrier:
		return "the message is a barrier"
	case len(lanes) > 1:
		return "the message has several lanes"
	case len(lanes) == 0:
		lane = unorderedLane(it.Offset)
	case isUnordered(lanes[0]) && !it.isRecord():
		return "the pipeline reserves keys with this prefix"
	default:
		lane = strings.Clone(lanes[0])
	}
	why := cut(textOf(cause), maxErrorText-3)
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.strands[lane]
	switch {
	case d.cut:
		return "the partition is being released"
	case it.isRecord():
		d.holdLocked(st, why)
		st.saved = false
		return ""
	case d.p.diverts.full.Load():
		return "Limits.DivertBytes is used up"
	case st == nil:
		return d.holdNewLocked(lane, it, why)
	case st.foreign:
		return "the messages of the key from an earlier log are not handled yet"
	case !st.placed:
		return holdLater
	case it.Offset <= st.marked:
		return "a later message of the key was handled already"
	case st.closing, st.mixed:
		return "a message of several lanes, or a barrier, waits behind it"
	}
	st.from = min(st.from, it.Offset)
	st.saved = false
	d.convertLocked(st)
	d.holdLocked(st, why)
	return ""
}

func (d *divert) holdNewLocked(lane string, it *item, why string) (refused string) {
	st := &strand{lane: lane, from: it.Offset, restored: -1, high: -1, done: -1, marked: -1}
	if !d.pt.queue.Put(lane, d.pumpOf(st), true) {
		return "a message of several lanes, or a barrier, waits behind it"
	}
	st.placed = true
	d.addLocked(st)
	d.convertLocked(st)
	d.holdLocked(st, why)
	return ""
}

func (d *divert) convertLocked(st *strand) {
	if !st.converts {
		st.converts = true
		d.converting.Add(1)
	}
}

// convertedLocked records that the lane has no message any more that belongs to the log.
func (d *divert) convertedLocked(st *strand) {
	if st.converts {
		st.converts = false
		d.converting.Add(-1)
	}
}

func (d *divert) holdLocked(st *strand, why string) {
	if !st.held {
		st.held = true
		d.held++
	}
	st.why = why
}

// unholdLocked gives up a hold: the store cannot keep its first message. If it gives up the strand, it returns the token of
// its pump, if that waits for no server.
func (d *divert) unholdLocked(st *strand) (wait *token) {
	d.convertedLocked(st)
	if st.held {
		st.held = false
		d.held--
	}
	if st.records == 0 && st.appending == 0 && st.restored < 0 {
		d.removeLocked(st) // its pump leaves the lane as it gets there
		if !st.serving {
			wait, st.wait = st.wait, nil
		}
	}
	return wait
}

// convert is the turn of a lane that may have messages that belong to the log of a key, because an earlier one has failed. The
// first such message waits in its lane until it is durable in the log. convert cuts the turn before it, if it is not the first.
func (d *divert) convert(t *keyed.Turn[item]) (r keyed.Result, over bool) {
	lanes, barrier := t.Lanes()
	first := t.Items[0]
	var lane string
	switch {
	case barrier || len(lanes) > 1:
		return r, false
	case len(lanes) == 0:
		lane = unorderedLane(first.Offset)
	case isUnordered(lanes[0]):
		return r, false
	default:
		lane = lanes[0]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.strands[lane]
	if st == nil || !st.converts {
		return r, false
	}
	if d.cut {
		return keyed.Result{Hold: true}, true
	}
	for i, it := range t.Items {
		if it.Offset < st.from {
			continue
		}
		if i > 0 {
			t.Items = t.Items[:i]
			return r, false
		}
		it.unpin()
		t.Await = &token{Items: 1, Note: noteLog}
		d.appendLocked(st, &it.Message, it.number, it.usage(), t.Await)
		return r, true
	}
	return r, false
}

// parked returns how many pumps wait for an operator.
func (d *divert) parked() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.strands {
		if st.parked {
			n++
		}
	}
	return n
}

// isHeld reports whether a key is held.
func (d *divert) isHeld(lane string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.ofKeyLocked(lane)
	return st != nil && st.held
}
