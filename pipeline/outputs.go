package pipeline

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/pipeline/internal/outlet"
	"github.com/keystrand/keystrand/sink"
)

type (
	outlets = outlet.Outlet[sent]
	output  = outlet.Output[sent]
	token   = keyed.Token[item]
)

// sent is the pipeline's data of an output or a dead letter on its way to a sink.
type sent struct {
	pt     *partition
	number int64 // negative: a record of the log of a diverted key, with the complement of its offset
	size   budget.Usage
	lane   keystrand.Lane    // first of the message's lanes
	named  bool              // the message has a lane with a name
	n      uint32            // messages to write, durable or not
	input  keystrand.Message // for the failure policy, if the sink refuses the output for good
	failed bool              // the failure policy has been called
	letter *letter           // nil if this is no dead letter
	of     *output           // a dead letter of a refused output: that one, which is held; else nil
	wait   *token            // token of the waiting lane; nil if the message has left its lane
	more   [1]uint64         // room for Output.More: most messages of several lanes have two
	token  token             // target of wait, except for the dead letter of a refused output
}

// Values of Token.Note: the lane waits for a sink or for a dead letter.
const (
	noteSink uint8 = iota
	noteLetter
	noteLog // the store of diverted keys
)

// openSink opens the writers of the sink set by To.
func (p *Pipeline) openSink() (err error) {
	if p.cfg.sink == nil {
		return nil
	}
	defer p.calls.begin("Open of the sink")()
	if p.outputs, err = p.openOutlet(p.cfg.sink, p.cfg.limits.Writers); err != nil {
		return fmt.Errorf("pipeline: open the sink: %w", err)
	}
	p.sinks.add(p.cfg.sink, false, p.outputs)
	return nil
}

func (p *Pipeline) openOutlet(s sink.Sink, writers int) (*outlets, error) {
	return outlet.Open(s, writers, outlet.Hooks[sent]{
		Durable: p.durable, Waits: waits, Refused: p.refused, Dropped: p.dropped, Broken: p.failed, Safe: readable,
		Failing: p.sinks.failing,
	})
}

// newOutput returns an output of an item. Its lanes are not set.
func newOutput(pt *partition, it *item, ms ...keystrand.Message) *output {
	return &output{
		Owner: pt.outputs, Messages: ms,
		Value: sent{pt: pt, number: it.number, size: it.usage(), n: uint32(len(ms)), input: it.Message, failed: it.blocks > 0}, //nolint:gosec // there are fewer
	}
}

// write passes the messages that a turn emitted to the writer of its lane. The lane continues at once, since its later
// outputs go to the same writer, behind these. A message of several lanes, or a barrier, needs more than the order of
// one writer: its lanes wait until its outputs are durable.
func (p *Pipeline) write(pt *partition, t *keyed.Turn[item], c *keystrand.Call) keyed.Result {
	if len(c.Emitted()) == 0 {
		return keyed.Result{Done: 1}
	}
	it := t.Items[0]
	o := newOutput(pt, it, slices.Clone(c.Emitted())...)
	o.More = o.Value.more[:0]
	var lanes []string
	if lanes, o.All = t.Lanes(); len(lanes) == 0 {
		o.Lane = maphash.Comparable(p.seed, it.number) // the item has a lane of its own
	}
	for i, lane := range lanes {
		if hash := maphash.String(p.seed, lane); i == 0 {
			o.Lane, o.Value.lane, o.Value.named = hash, keystrand.Lane(strings.Clone(lane)), true // the name must not keep a fetch buffer
		} else {
			o.More = append(o.More, hash)
		}
	}
	if p.outputs.Failing(o.Lane) {
		waits(o)
	}
	if o.All || len(o.More) > 0 {
		return await(p.outputs, o, t, 0, noteSink)
	}
	it.marks |= sinking
	if !p.outputs.Add(o) { // the partition's outputs are cut, so the next owner handles the message again
		it.marks &^= sinking
		return keyed.Result{Hold: true}
	}
	return keyed.Result{Done: 1}
}

// waits gives an output that may wait long its own copy of its bytes, as unpin does for an item. The item itself needs no
// copy: it leaves its lane, or await has dropped its bytes.
func waits(o *output) {
	own(&o.Value.input)
	for i := range o.Messages {
		own(&o.Messages[i])
	}
}

// await makes the first item that stays in the lane wait for an output, and returns the turn's result. The output has its
// own copy of the message, so the item drops its bytes: they would keep a buffer of the source for as long as the lane waits.
func await(to *outlets, o *output, t *keyed.Turn[item], done int, note uint8) keyed.Result {
	it, v := t.Items[done], &o.Value
	it.Key, it.Value, it.Headers, it.Native = nil, nil, nil, nil
	cloneValue(&it.Message) // without a Value it also drops the decoded value
	v.wait, v.token.Items, v.token.Note = &v.token, 1, note
	t.Await = v.wait
	if !to.Add(o) { // the partition's outputs are cut, so the next owner handles the message again
		t.Await = nil
		return keyed.Result{Done: done, Hold: true}
	}
	return keyed.Result{Done: done}
}

// durable settles the messages of stored outputs.
func (p *Pipeline) durable(outputs []*output) {
	letters, written := int64(0), int64(0)
	for _, o := range outputs {
		if o.Value.letter != nil {
			letters++
		} else {
			written += int64(o.Value.n)
		}
	}
	p.counts.deadLettered.Add(letters)
	p.counts.written.Add(int64(len(outputs)) - letters)
	p.counts.outputs.Add(written)
	p.ended(outputs, keyed.Result{Done: 1})
}

// dropped ends outputs that were cut, without settling their messages: the next owner handles them.
func (p *Pipeline) dropped(outputs []*output) {
	p.ended(outputs, keyed.Result{Hold: true})
}

// ended ends outputs; if r.Done is not 0, their messages are settled. A lane that waits for an output continues, and
// its message is settled as it leaves.
func (p *Pipeline) ended(outputs []*output, r keyed.Result) {
	var room [32]int64
	numbers := room[:0]
	var waits []*token
	var size budget.Usage
	for i, o := range outputs {
		v := &o.Value
		switch {
		case v.wait != nil:
			v.wait.Result = r
			if v.isRecord() {
				v.wait.Result.Done = 0 // the pump stays in the lane
			}
			if waits == nil {
				waits = make([]*token, 0, len(outputs)-i)
			}
			waits = append(waits, v.wait)
		case !v.isRecord():
			numbers = append(numbers, v.number)
			size = size.Plus(v.size)
		}
		if len(numbers) > 0 && (i+1 == len(outputs) || outputs[i+1].Value.pt != v.pt) {
			p.left(v.pt, numbers, size, r.Done > 0)
			numbers, size = numbers[:0], budget.Usage{}
		}
	}
	if r.Done > 0 {
		landed(outputs) // after the messages of their lanes are settled
	}
	if len(waits) > 0 {
		if err := p.exec.Complete(waits...); err != nil {
			p.log.Error("output ended twice; please report this bug", slog.Any("error", err))
		}
	}
	for _, o := range outputs {
		if of := o.Value.of; of != nil {
			p.outputs.End(of) // the messages behind it go on
		}
	}
}

// isRecord reports whether the output is of a record of the log of a diverted key.
func (v *sent) isRecord() bool { return v.number < 0 }

// landed records the durable outputs of records.
func landed(outputs []*output) {
	for _, o := range outputs {
		if v := &o.Value; v.isRecord() {
			v.pt.divert.landed(string(v.lane), ^v.number)
		}
	}
}

// left settles or drops messages that left their lanes before.
func (p *Pipeline) left(pt *partition, numbers []int64, size budget.Usage, settled bool) {
	if !settled {
		pt.dropped.Add(int64(len(numbers)))
		return
	}
	p.settle(pt, numbers, size)
	pt.settled.Add(int64(len(numbers)))
}

// cutOutputs drops the partition's outputs that are not written yet and cancels a running Write of its outputs. From
// then on it accepts none, since a handler that ignores the end of its ctx may return long after the release.
func (p *Pipeline) cutOutputs(pt *partition) {
	if pt.divert != nil {
		pt.divert.cutOff()
	}
	pt.outputs.Cut()
	if p.outputs != nil {
		p.outputs.Cut(pt.outputs)
	}
	p.letters.cut(pt)
}

// closeOutputs closes all writers after the last partition is released.
func (p *Pipeline) closeOutputs() error {
	defer p.calls.begin("Close of a writer of the sink")()
	var err error
	if p.outputs != nil {
		err = p.outputs.Close()
	}
	return errors.Join(err, p.letters.close())
}
