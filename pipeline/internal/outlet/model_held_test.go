package outlet

import (
	"errors"

	"pgregory.net/rapid"
)

// drawRefusalsLocked draws what Refused answers for each output of a Write, if the sink refuses it for good.
func drawRefusalsLocked(t *rapid.T, w *modelWrite, errs []error) {
	refused := func(err error) bool { return errors.Is(err, errTooLarge) }
	for _, x := range w.outputs {
		x.refusal, x.inHook = WriteAgain, ""
		if n := len(x.rest); refused(errs[0]) || n > 1 && (refused(errs[1]) || n > 2 && refused(errs[2])) {
			x.refusal = rapid.SampledFrom([]Refusal{WriteAgain, Ended, Hold, Hold}).Draw(t, "refusal")
			if x.refusal == Hold {
				x.inHook = rapid.SampledFrom([]string{"", "", "", "", "", "", "end", "cut"}).Draw(t, "in hook")
			}
		}
		errs = errs[len(x.rest):]
	}
}

// refused is the hook.
func (m *model) refused(o *Output[*modelOutput], _ error) Refusal {
	x := o.Value
	switch x.refusal {
	case WriteAgain, Rewrite, Halt: // the latter two have tests of their own
	case Ended:
		m.end("refused", o)
	case Hold:
		m.mu.Lock()
		if x.may != "held" || x.ended != "" {
			m.objectLocked("output %d is refused, was %q, may be %q", x.number, x.ended, x.may)
		}
		x.held = true
		if x.owner.cut {
			x.ended = "by Cut"
		}
		m.mu.Unlock()
		switch x.inHook {
		case "end":
			m.endHeld(x)
		case "cut": // by another goroutine, before the hook returns
			m.cutOwner(x.owner)
		}
	}
	return x.refusal
}

// endHeld calls End. It does so for outputs that have ended, too.
func (m *model) endHeld(x *modelOutput) {
	m.mu.Lock()
	if x.ended == "" {
		x.ended = "by End"
	}
	m.mu.Unlock()
	m.x.End(x.o)
}

// endOne ends an output that is or was held, as when its dead letter is durable.
func (m *model) endOne(t *rapid.T) {
	var held, old []*modelOutput
	m.mu.Lock()
	for _, x := range m.list {
		switch {
		case x.held && x.ended == "":
			held = append(held, x)
		case x.held:
			old = append(old, x)
		}
	}
	m.mu.Unlock()
	if len(old) > 0 && (len(held) == 0 || rapid.IntRange(0, 9).Draw(t, "end again") == 0) {
		held = old
	}
	if len(held) == 0 {
		t.Skip("none was held")
	}
	m.endHeld(rapid.SampledFrom(held).Draw(t, "held"))
}

// behindHeldLocked reports whether an output is held, or waits directly or indirectly for one that is.
func (m *model) behindHeldLocked(x *modelOutput) bool {
	for _, y := range m.list[:x.number+1] {
		if y.ended == "" && y.held && (y == x || y.conflicts(x)) {
			return true
		}
	}
	return false
}

// checkIdleLocked checks that a writer for which only held outputs and those behind them are left has nothing to do, not
// even at a later time.
func (m *model) checkIdleLocked() {
	busy := make([]bool, m.writers)
	for _, x := range m.list {
		if x.ended == "" && !m.behindHeldLocked(x) {
			busy[int(x.o.Lane)%m.writers] = true
		}
	}
	for i, w := range m.x.writers {
		w.mu.Lock()
		idle := w.first == nil && len(w.later) == 0 && w.abort == nil
		w.mu.Unlock()
		if !busy[i] && (!idle || m.writes[i] != nil) {
			m.objectLocked("writer %d is not idle, and only held outputs are left", i)
		}
	}
}
