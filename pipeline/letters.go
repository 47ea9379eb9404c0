package pipeline

import (
	"errors"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand/keyed"
)

// letters writes dead letters. It has one writer for each sink that a policy has named.
type letters struct {
	p  *Pipeline
	mu sync.Mutex
	to map[any]*outlets // by letterBox.name; guarded by mu

	closed bool // Run ends: open no further outlet; guarded by mu
}

func newLetters(p *Pipeline) *letters { return &letters{p: p, to: map[any]*outlets{}} }

// send writes the dead letter of the turn's item at index done; the items before it are done. The lane waits until the
// letter is durable.
func (l *letters) send(box *letterBox, pt *partition, t *keyed.Turn[item], done int, cause error) keyed.Result {
	to, err := l.outlet(box)
	if err != nil {
		l.p.failed(err)
		return keyed.Result{Done: done, Hold: true}
	}
	it := t.Items[done]
	o := newOutput(pt, it, letter(&it.Message, cause))
	o.Value.letter = true
	o.Lane = uint64(it.number) //nolint:gosec // its lane waits for it, so any unique lane will do
	return await(to, o, t, done, noteLetter)
}

// replace writes the dead letter of a message whose output was refused. If a lane waits for the output, it then waits
// for the letter. replace returns false if nothing is written.
func (l *letters) replace(box *letterBox, o *output, cause error) bool {
	to, err := l.outlet(box)
	if err != nil {
		l.p.failed(err)
		return false
	}
	v := &o.Value
	x := &output{Owner: o.Owner, Lane: o.Lane}
	x.Messages = append(x.Messages, letter(&v.input, cause))
	x.Value = sent{pt: v.pt, number: v.number, size: v.size, input: v.input, letter: true, of: o, wait: v.wait}
	if v.wait != nil {
		l.p.exec.Renote(v.wait, noteLetter)
	}
	return to.Add(x)
}

func (l *letters) outlet(box *letterBox) (*outlets, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := box.name()
	if x, ok := l.to[name]; ok {
		return x, nil
	}
	if l.closed {
		return nil, errLettersClosed
	}
	x, err := l.p.openOutlet(box.sink, 1)
	if err != nil {
		return nil, fmt.Errorf("pipeline: open the dead-letter sink: %w", err)
	}
	l.to[name] = x
	return x, nil
}

// errLettersClosed is never reported: it occurs only when the policy of an abandoned turn returns after Run.
var errLettersClosed = errors.New("pipeline: dead letter dropped: the pipeline has stopped")

// all returns the opened outlets.
func (l *letters) all() (all []*outlets) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.to {
		all = append(all, x)
	}
	return all
}

func (l *letters) cut(pt *partition) {
	for _, x := range l.all() {
		x.Cut(pt.outputs)
	}
}

func (l *letters) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var errs []error
	for _, x := range l.all() {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}
