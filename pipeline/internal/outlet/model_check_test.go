// Virtual time: the model of model_test.go plays in a bubble.
package outlet

import (
	"context"
	"slices"
	"strconv"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
)

// write is the sink's Write. It checks that the model allows it now.
func (m *model) write(ctx context.Context, writer int, ms []keystrand.Message) error {
	w := &modelWrite{ctx: ctx, ms: slices.Clone(ms), answer: make(chan error)}
	m.mu.Lock()
	if m.writes[writer] != nil || m.closed[writer] > 0 {
		m.objectLocked("writer %d has two Writes in flight, or is closed", writer)
	}
	m.writes[writer] = w
	for i := 0; i < len(ms); {
		x := m.ownerOfLocked(ms[i])
		if x == nil {
			break
		}
		m.checkWriteLocked(w, x, writer)
		for _, number := range x.rest {
			if i == len(ms) || string(ms[i].Value) != strconv.Itoa(number) {
				m.objectLocked("the messages of output %d are not all in its Write, or not in order", x.number)
				break
			}
			i++
		}
		x.in = w
		w.outputs = append(w.outputs, x)
	}
	for _, x := range w.outputs {
		x.owner.due[x.o.Lane] = time.Time{}
	}
	m.mu.Unlock()
	err := <-w.answer
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[writer] = nil
	return err
}

func (m *model) ownerOfLocked(msg keystrand.Message) *modelOutput {
	number, _ := strconv.Atoi(string(msg.Value))
	for _, x := range m.list {
		if x.ended == "" && slices.Contains(x.rest, number) {
			return x
		}
	}
	m.objectLocked("message %d is written and belongs to no output that has not ended", number)
	return nil
}

// checkWriteLocked checks that a Write may have an output behind those that it has already.
func (m *model) checkWriteLocked(w *modelWrite, x *modelOutput, writer int) {
	switch {
	case x.owner.cut:
		m.objectLocked("output %d is written and its owner is cut", x.number)
	case writer != int(x.o.Lane)%m.writers:
		m.objectLocked("output %d is written by writer %d", x.number, writer)
	case time.Now().Before(x.owner.due[x.o.Lane]):
		m.objectLocked("output %d is written %v too early", x.number, time.Until(x.owner.due[x.o.Lane]))
	}
	for _, y := range m.list[:x.number] {
		if y.ended != "" || !y.conflicts(x) {
			continue
		}
		if len(x.lanes) > 1 || len(y.lanes) > 1 || x.o.All || y.in != w {
			m.objectLocked("output %d is written before output %d has ended", x.number, y.number)
			continue
		}
		for _, a := range slices.Concat(x.o.Messages, y.o.Messages) {
			if b := x.o.Messages[0]; a.Key == nil || string(a.Key) != string(b.Key) {
				m.objectLocked("outputs %d and %d of one lane have different keys, or none, and are in one Write", y.number, x.number)
			}
		}
	}
}

func (m *model) end(how string, outputs ...*Output[*modelOutput]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range outputs {
		x := o.Value
		if x.ended != "" || x.may != how {
			m.objectLocked("output %d is %s, was %q, may be %q", x.number, how, x.ended, x.may)
		}
		if y := m.beforeLocked(x); y != nil && how == "durable" {
			m.objectLocked("output %d is durable before output %d has ended", x.number, y.number)
		}
		x.ended = how
	}
}

func (m *model) check(t *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	for _, w := range m.owners {
		m.checkOwnerLocked(w)
	}
	for _, x := range m.list {
		x.settling = false
		m.checkOutputLocked(x)
	}
	m.checkIdleLocked()
	broken := m.broken
	m.mu.Unlock()
	if len(broken) > 0 {
		t.Fatalf("%q", broken)
	}
}

func (m *model) checkOwnerLocked(w *modelOwner) {
	var pending, find int64
	for _, x := range m.list {
		if x.owner == w && x.ended == "" {
			pending++
			if len(x.lanes) == 1 && !x.o.All || m.beforeLocked(x) == nil {
				find++
			}
		}
	}
	if n := w.o.Pending(); n != pending {
		m.objectLocked("owner %s has %d outputs pending, want %d", w.name, n, pending)
	}
	found := int64(0)
	m.x.Find(w.o, func(o *Output[*modelOutput]) bool {
		if x := o.Value; x.owner != w || x.ended != "" {
			m.objectLocked("Find finds output %d, which is not there", x.number)
		} else if o.Held() != x.held {
			m.objectLocked("Held() of output %d = %v, want %v", x.number, o.Held(), x.held)
		}
		found++
		return false
	})
	if found != find && !w.cut {
		m.objectLocked("Find finds %d outputs of owner %s, want %d", found, w.name, find)
	}
}

// checkOutputLocked checks that an output does not wait without a reason.
func (m *model) checkOutputLocked(x *modelOutput) {
	if x.ended != "" || x.in != nil || x.held {
		return
	}
	before := m.beforeLocked(x)
	switch {
	case x.may != "" && before == nil:
		m.objectLocked("output %d must be %s, and is not", x.number, x.may)
	case before == nil && !x.owner.due[x.o.Lane].After(time.Now()) && m.writes[int(x.o.Lane)%m.writers] == nil:
		m.objectLocked("output %d waits for nothing, and is not written", x.number)
	}
}

func (m *model) checkClosed(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, n := range m.closed {
		if n != 1 {
			m.objectLocked("writer %d was closed %d times", i, n)
		}
	}
	for _, x := range m.list {
		if x.ended == "" && x.owner.cut {
			m.objectLocked("output %d has not ended", x.number)
		}
	}
	if len(m.broken) > 0 {
		t.Fatalf("%q", m.broken)
	}
}
