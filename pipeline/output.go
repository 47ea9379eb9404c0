package pipeline

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
)

// output is what a turn has left for a sink: the outputs of one message, or its dead letter. The message is settled
// when all of them are durable.
type output struct {
	pt       *partition
	number   int64
	size     usage
	input    keystrand.Message   // what the failure policy is asked about, should the sink refuse an output for good
	messages []keystrand.Message // not durable yet, in order
	letter   bool                // it is a dead letter
	mail     *mail               // of a dead letter that its lane waits for; else nil
	lane     outputLane
	inLane   bool // the message is in its lane still and is counted there

	due  time.Time     // it has failed and is not written again before; the writer's alone, as is the next
	wait time.Duration // how long it waited the last time
	gone atomic.Bool   // it waits no more: it is durable, settled otherwise, or cut
}

// outputLane is the lane of an output, as far as its hash tells: lanes that share one are treated as one.
type outputLane struct {
	pt   *partition
	hash int64
}

// write hands what the turn emitted to the writer of its lane. The lane goes on at once: what follows of its key goes
// to the same writer, behind it.
func (p *Pipeline) write(pt *partition, t *keyed.Turn[item], c *keystrand.Call) keyed.Result {
	if len(c.Emitted()) == 0 {
		return keyed.Result{Done: 1}
	}
	it := t.Items[0]
	if it.marks.has(several) && p.awaitWritten(pt) != nil {
		return keyed.Result{Hold: true} // its ctx has ended
	}
	o := &output{
		pt: pt, number: it.number, size: it.usage(), input: it.Message,
		lane: outputLane{pt, int64(it.writer)}, messages: slices.Clone(c.Emitted()),
	}
	if !p.outputs.add(it.writer, o) {
		return keyed.Result{Hold: true} // the partition's outputs are cut: it is handled again
	}
	it.marks |= sinking
	if it.marks.has(several) {
		// Its other lanes have other writers, which must not be faster. Once added it leaves its lane even if ctx ends.
		_ = p.awaitWritten(pt)
	}
	return keyed.Result{Done: 1}
}

// awaitWritten blocks until none of the partition's outputs that were added by now waits, or the ctx of its handlers ends.
// Only messages of several lanes need it: their outputs are in the order of all their lanes, which have different
// writers. (To wait until no output is left would be shorter, but under load there always is one.)
func (p *Pipeline) awaitWritten(pt *partition) error {
	waiting := p.outputs.waiting(pt)
	return pt.gate.await(pt.ctx, func() bool {
		for len(waiting) > 0 && waiting[len(waiting)-1].gone.Load() {
			waiting = waiting[:len(waiting)-1]
		}
		return len(waiting) == 0
	})
}

// writerOf returns a number that is the same for all messages of a lane.
func (p *Pipeline) writerOf(lane string, ordered bool, number int64) uint16 {
	if !ordered {
		return uint16(number) //nolint:gosec // any number will do
	}
	return uint16(maphash.String(p.seed, lane)) //nolint:gosec // a piece of the hash will do
}

// cutOutputs drops what is not written yet of a partition and lets nothing more in, for ever: a handler that ignores the
// end of its ctx may return long after the release. A Write that has some of it under way is told to return.
func (p *Pipeline) cutOutputs(pt *partition) {
	pt.cut.Store(true)
	if p.outputs != nil {
		p.outputs.cut(pt)
	}
	p.letters.cut(pt)
}
