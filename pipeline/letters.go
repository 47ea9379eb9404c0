package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/sink"
)

// letters writes dead letters. It has one writer for each sink that a policy has named.
type letters struct {
	p  *Pipeline
	mu sync.Mutex
	to map[any]*letterOutlet // by letterBox.name; guarded by mu

	closed bool // Run ends: open no further outlet; guarded by mu
}

// letterOutlet is the outlet of one sink.
type letterOutlet struct {
	opened chan struct{} // closed once the others are set
	x      *outlets      // nil if it cannot be opened
	err    error
}

func newLetters(p *Pipeline) *letters { return &letters{p: p, to: map[any]*letterOutlet{}} }

// send writes the dead letter of the turn's item at index done; the items before it are done. The lane waits until the
// letter is durable.
func (l *letters) send(box *letterBox, pt *partition, t *keyed.Turn[item], done int, cause error) keyed.Result {
	to, err := l.outlet(pt.ctx, box)
	if err != nil {
		return keyed.Result{Done: done, Hold: true}
	}
	it := t.Items[done]
	x := newLetter(box, pt.firstError(it, cause), textOf(cause))
	o := newOutput(pt, it, x.message(&it.Message))
	o.Value.letter = x
	o.Lane = uint64(it.number) //nolint:gosec // its lane waits for it, so any unique lane will do
	if lanes, _ := t.Lanes(); len(lanes) > 0 {
		o.Value.lane, o.Value.named = keystrand.Lane(strings.Clone(lanes[0])), true // the name must not keep a fetch buffer
	}
	return await(to, o, t, done, noteLetter)
}

// replace writes the dead letter of a message whose output was refused. If a lane waits for the output, it then waits
// for the letter. replace returns false if nothing is written.
func (l *letters) replace(box *letterBox, o *output, cause error) bool {
	to, err := l.outlet(o.Value.pt.ctx, box)
	if err != nil {
		return false
	}
	v, text := &o.Value, textOf(cause)
	x := newLetterOutput(o, newLetter(box, text, text))
	x.Value.of = o
	if v.wait != nil {
		l.p.exec.Renote(v.wait, noteLetter)
	}
	return to.Add(x)
}

// forward writes a refused dead letter to another sink. It returns false if nothing is written.
func (l *letters) forward(box *letterBox, o *output) bool {
	to, err := l.outlet(o.Value.pt.ctx, box)
	if err != nil {
		return false
	}
	old := o.Value.letter
	next := newLetter(box, old.first, old.last)
	next.tried = append(old.tried, old.box.name())
	x := newLetterOutput(o, next)
	x.Value.of = o.Value.of
	return to.Add(x)
}

// newLetterOutput returns an output with a dead letter of the message of o.
func newLetterOutput(o *output, l *letter) *output {
	v := &o.Value
	return &output{
		Owner: o.Owner, Lane: o.Lane, Messages: []keystrand.Message{l.message(&v.input)},
		Value: sent{pt: v.pt, number: v.number, size: v.size, lane: v.lane, named: v.named, input: v.input, letter: l, wait: v.wait},
	}
}

// outlet returns the outlet of a sink. The first call opens it; an error of Open ends the pipeline. outlet waits for Open
// until ctx ends.
func (l *letters) outlet(ctx context.Context, box *letterBox) (*outlets, error) {
	to := l.opening(box)
	if to == nil {
		return nil, errLettersClosed
	}
	select {
	case <-to.opened:
		return to.x, to.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// opening returns the outlet of a sink, which may not be opened yet; nil if no outlet is opened any more.
func (l *letters) opening(box *letterBox) *letterOutlet {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := box.name()
	to := l.to[name]
	if to == nil && !l.closed {
		to = &letterOutlet{opened: make(chan struct{}), err: errLetterOpenExited}
		l.to[name] = to
		go l.open(to, box)
	}
	return to
}

// open opens an outlet in its own goroutine: while Open of the sink hangs, a partition must be able to leave.
func (l *letters) open(to *letterOutlet, box *letterBox) {
	defer close(to.opened)
	defer func() {
		if to.err != nil {
			l.p.failed(to.err)
		}
	}()
	defer l.p.calls.begin("Open of the dead-letter sink")()
	x, err := l.p.openOutlet(stamped{box.sink}, 1)
	if err != nil {
		to.err = fmt.Errorf("pipeline: open the dead-letter sink: %w", err)
		return
	}
	to.x, to.err = x, nil
	l.p.sinks.add(box.sink, true, x)
}

var errLetterOpenExited = errors.New("pipeline: Open of the dead-letter sink called runtime.Goexit: it must return")

// stamped is a dead-letter sink that gets messages with the time of writing.
type stamped struct{ sink.Sink }

type stampedWriter struct{ sink.Writer }

func (s stamped) Open() (sink.Writer, error) {
	w, err := s.Sink.Open()
	if err != nil || w == nil {
		return nil, err
	}
	return stampedWriter{w}, nil
}

// Write sets the time of the messages, which are the outlet's copies.
func (w stampedWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	now := time.Now().UTC()
	for i := range ms {
		ms[i].Time = now
	}
	return w.Writer.Write(ctx, ms)
}

// errLettersClosed occurs only when the policy of an abandoned turn returns after Run.
var errLettersClosed = errors.New("pipeline: dead letter dropped: the pipeline has stopped")

// all returns the opened outlets.
func (l *letters) all() (all []*outlets) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, to := range l.to {
		select {
		case <-to.opened:
			if to.x != nil {
				all = append(all, to.x)
			}
		default: // it has no output yet
		}
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
	opened := slices.Collect(maps.Values(l.to))
	l.mu.Unlock()
	for _, to := range opened {
		<-to.opened
	}
	var errs []error
	for _, x := range l.all() {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}
