package pipeline

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// writers are the writers of the sink: a lane always uses the same one.
type writers struct{ all []*writer }

// openSink opens the writers of the sink that To named.
func (p *Pipeline) openSink() error {
	if p.cfg.sink == nil {
		return nil
	}
	ws := &writers{}
	for range p.cfg.limits.Writers {
		w, err := openWriter(p.cfg.sink)
		if err != nil {
			return errors.Join(fmt.Errorf("pipeline: open the sink: %w", err), ws.close())
		}
		ws.all = append(ws.all, startWriter(p, w))
	}
	p.outputs = ws
	return nil
}

func openWriter(s sink.Sink) (sink.Writer, error) {
	w, err := s.Open()
	if err == nil && w == nil {
		err = fmt.Errorf("%T.Open returned no writer and no error", s)
	}
	return w, err
}

func (ws *writers) add(lane uint16, o *output) bool {
	return ws.all[int(lane)%len(ws.all)].add(o)
}

// waiting returns the outputs of a partition that are not durable yet.
func (ws *writers) waiting(pt *partition) (all []*output) {
	for _, w := range ws.all {
		w.mu.Lock()
		for o := range w.outputsLocked() {
			if o.pt == pt {
				all = append(all, o)
			}
		}
		w.mu.Unlock()
	}
	return all
}

// find returns a message whose outputs are on their way. It looks at all that wait, for a snapshot.
func (ws *writers) find(pt *partition, number int64, now time.Time) (KeySnapshot, bool) {
	if ws == nil {
		return KeySnapshot{}, false
	}
	for _, w := range ws.all {
		w.mu.Lock()
		for o := range w.outputsLocked() {
			if o.pt == pt && o.number == number {
				m := o.input
				w.mu.Unlock()
				return KeySnapshot{Key: string(m.Key), Waiting: 1, Offset: m.Offset, Age: now.Sub(m.Fetched), Attempt: int(m.Attempt), Why: WhySink}, true
			}
		}
		w.mu.Unlock()
	}
	return KeySnapshot{}, false
}

func (ws *writers) cut(pt *partition) {
	for _, w := range ws.all {
		w.cut(pt)
	}
}

func (ws *writers) close() error {
	var errs []error
	for _, w := range ws.all {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

// letters writes dead letters: one writer for each sink that a policy has named.
type letters struct {
	p  *Pipeline
	mu sync.Mutex
	to map[any]*writer // by letterBox.name; guarded by mu

	closed bool // Run ends: no other is opened; guarded by mu
}

func newLetters(p *Pipeline) *letters { return &letters{p: p, to: map[any]*writer{}} }

// mail is a dead letter on the way, whose lane is parked and looks for it from time to time. (To resume the lane by name
// would ask the key function again, which is called once a message; and a lane without a name has none.)
type mail struct {
	began time.Time
	over  atomic.Bool // its message is settled
}

// pause returns how long the lane waits before it looks again: about as long as it has waited so far.
func (m *mail) pause() time.Duration {
	return min(max(time.Since(m.began), 2*time.Millisecond), time.Second)
}

// add writes the dead letter of an item whose lane is about to be parked.
func (l *letters) add(box *letterBox, pt *partition, it *item, cause error) *mail {
	m := &mail{began: time.Now()}
	pt.mailed.Store(it.number, m)
	l.write(box, &output{
		pt: pt, number: it.number, size: it.usage(),
		lane:     outputLane{pt, it.number}, // its lane waits for it: it has one of its own
		inLane:   true,
		input:    it.Message,
		messages: []keystrand.Message{letter(&it.Message, cause)},
		letter:   true,
		mail:     m,
	})
	return m
}

// addOutput writes the dead letter of a message whose output was refused. Its lane has gone on.
func (l *letters) addOutput(box *letterBox, o *output, cause error) {
	l.write(box, &output{
		pt: o.pt, number: o.number, size: o.size, input: o.input, lane: o.lane,
		messages: []keystrand.Message{letter(&o.input, cause)},
		letter:   true,
	})
}

func (l *letters) write(box *letterBox, o *output) {
	w, err := l.writer(box)
	if err != nil {
		l.p.failed(err)
		return
	}
	if !w.add(o) && !o.inLane {
		o.pt.dropped.Add(1)
	}
}

func (l *letters) writer(box *letterBox) (*writer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := box.name()
	if w, ok := l.to[name]; ok {
		return w, nil
	}
	if l.closed {
		return nil, errLettersClosed
	}
	sw, err := openWriter(box.sink)
	if err != nil {
		return nil, fmt.Errorf("pipeline: open the dead-letter sink: %w", err)
	}
	w := startWriter(l.p, sw)
	l.to[name] = w
	return w, nil
}

// errLettersClosed is told to nobody: a policy has returned after Run has, of a turn that was given up.
var errLettersClosed = errors.New("pipeline: the pipeline has stopped")

func (l *letters) each(f func(*writer)) {
	l.mu.Lock()
	var all []*writer
	for _, w := range l.to {
		all = append(all, w)
	}
	l.mu.Unlock()
	for _, w := range all {
		f(w)
	}
}

func (l *letters) cut(pt *partition) { l.each(func(w *writer) { w.cut(pt) }) }

func (l *letters) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var errs []error
	l.each(func(w *writer) { errs = append(errs, w.close()) })
	return errors.Join(errs...)
}
