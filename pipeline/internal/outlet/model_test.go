package outlet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// The model is a naive outlet: one list of outputs in the order of Add, searched from the front. It sees each Write and each
// end of an output of the real outlet, and records those that it does not allow in broken.

const modelLanes = 4

type modelOutput struct {
	o      *Output[*modelOutput]
	number int
	owner  *modelOwner
	lanes  []uint64
	rest   []int // numbers of the messages that are not durable
	fails  int
	in     *modelWrite // the running Write that has it
	may    string      // how it must end; "": not known yet
	ended  string      // how it has ended

	refusal  Refusal // what the hook Refused answers
	inHook   string  // "end", "cut": what the hook calls before it returns Hold
	held     bool    // since Refused answered Hold, also after the end
	settling bool    // its Write returns
}

type modelOwner struct {
	name string
	o    *Owner[*modelOutput]
	cut  bool
	due  [modelLanes]time.Time // after a failure: when the lane may be written again
}

type modelWrite struct {
	ctx     context.Context
	outputs []*modelOutput
	ms      []keystrand.Message
	answer  chan error
}

type model struct {
	x       *Outlet[*modelOutput]
	writers int
	over    bool

	mu       sync.Mutex
	list     []*modelOutput // all, also those that have ended
	owners   []*modelOwner
	writes   []*modelWrite // running ones by writer
	closed   []int         // calls of Close by writer
	messages int
	broken   []string
}

func (m *model) objectLocked(format string, args ...any) {
	m.broken = append(m.broken, fmt.Sprintf(format, args...))
}

func TestOutletMatchesDumbModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) { playModel(t) })
	})
}

func playModel(t *rapid.T) {
	m := &model{writers: rapid.IntRange(1, 3).Draw(t, "writers")}
	m.writes, m.closed = make([]*modelWrite, m.writers), make([]int, m.writers)
	for i := range 3 {
		m.newOwner(strconv.Itoa(i))
	}
	x, err := Open(&fakeSink{write: m.write, close: m.closeWriter}, m.writers, Hooks[*modelOutput]{
		Durable: func(outputs []*Output[*modelOutput]) { m.end("durable", outputs...) },
		Dropped: func(outputs []*Output[*modelOutput]) { m.end("dropped", outputs...) },
		Refused: m.refused,
		Waits:   func(*Output[*modelOutput]) {},
		Broken:  func(err error) { panic(err) },
		Safe:    func(err error) error { return err },
		Failing: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.x = x
	defer m.shutdown()
	actions := map[string]func(*rapid.T){
		"add":        m.add,
		"add too":    m.add,
		"answer":     m.answer,
		"answer too": m.answer,
		"end held":   m.endOne,
		"sleep":      m.sleep,
		"cut":        m.cut,
		"":           m.check,
	}
	for range 5 { // a schedule of about 150 actions
		t.Repeat(actions)
	}
	if rapid.Bool().Draw(t, "cut before close") {
		for _, w := range m.owners {
			m.cutOwner(w)
		}
		m.check(t)
	}
	m.shutdown()
	m.checkClosed(t)
}

func (m *model) newOwner(name string) {
	m.owners = append(m.owners, &modelOwner{name: name, o: NewOwner[*modelOutput](func() {})})
}

// add adds an output of one lane, several, or all.
func (m *model) add(t *rapid.T) {
	w := rapid.SampledFrom(m.owners).Draw(t, "owner")
	o := &Output[*modelOutput]{Owner: w.o}
	x := &modelOutput{o: o, owner: w}
	o.Value = x
	lanes := 1
	switch rapid.IntRange(0, 9).Draw(t, "lanes") {
	case 0:
		o.All = true
	case 1, 2:
		lanes = rapid.IntRange(2, 3).Draw(t, "several")
	}
	for range lanes {
		x.lanes = append(x.lanes, uint64(rapid.IntRange(0, modelLanes-1).Draw(t, "lane")))
	}
	o.Lane, o.More = x.lanes[0], x.lanes[1:]
	for range rapid.IntRange(1, 3).Draw(t, "messages") {
		number := m.messages + len(x.rest)
		x.rest = append(x.rest, number)
		msg := keystrand.Message{Value: strconv.AppendInt(nil, int64(number), 10)}
		if k := rapid.IntRange(0, 9).Draw(t, "key"); k > 0 {
			msg.Key = fmt.Append(nil, o.Lane, k > 7)
		}
		o.Messages = append(o.Messages, msg)
	}
	m.mu.Lock()
	for _, y := range m.list {
		if y.ended == "" && y.owner == w && (y.o.All || len(y.lanes) > 1 && y.conflicts(x)) {
			m.mu.Unlock()
			t.Skip("the lane waits for an output of several")
		}
	}
	x.number = len(m.list)
	m.list = append(m.list, x)
	m.messages += len(x.rest)
	m.mu.Unlock()
	if got := m.x.Add(o); got == w.cut {
		t.Fatalf("Add = %v, cut %v", got, w.cut)
	}
	if w.cut {
		m.mu.Lock()
		x.ended = "not added"
		m.mu.Unlock()
	}
}

// conflicts reports whether two outputs have a lane in common.
func (x *modelOutput) conflicts(y *modelOutput) bool {
	return x.owner == y.owner && (x.o.All || y.o.All || slices.ContainsFunc(x.lanes, func(l uint64) bool { return slices.Contains(y.lanes, l) }))
}

// beforeLocked returns the first earlier output that has not ended and has a lane in common.
func (m *model) beforeLocked(x *modelOutput) *modelOutput {
	for _, y := range m.list[:x.number] {
		if y.ended == "" && y.conflicts(x) {
			return y
		}
	}
	return nil
}

// answer lets a Write return, and predicts the results.
func (m *model) answer(t *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	i := rapid.IntRange(0, m.writers-1).Draw(t, "writer")
	w := m.writes[i]
	if w == nil {
		t.Skip("no Write")
	}
	errs, err := drawAnswer(t, w.ms)
	drawRefusalsLocked(t, w, errs)
	m.returnLocked(w, errs)
	w.answer <- err
}

var (
	errTransient = errors.New("a failure that passes")
	errTooLarge  = keystrand.Permanent(errors.New("too large"))
)

// drawAnswer draws the error of each message, and the error with which Write reports them.
func drawAnswer(t *rapid.T, ms []keystrand.Message) (errs []error, err error) {
	errs = make([]error, len(ms))
	whole := func(err error) ([]error, error) {
		for i := range errs {
			errs[i] = err
		}
		return errs, err
	}
	switch rapid.IntRange(0, 10).Draw(t, "answer") {
	case 0:
		return whole(errTransient)
	case 1, 10:
		return whole(errTooLarge)
	case 2:
		return whole(sink.ErrBehind)
	case 3, 4, 5:
	default:
		return errs, nil
	}
	failed := make(map[string]bool)
	for i := range errs {
		k := string(ms[i].Key)
		if ms[i].Key != nil && failed[k] {
			errs[i] = sink.ErrBehind
			continue
		}
		errs[i] = rapid.SampledFrom([]error{nil, nil, nil, errTransient, errTooLarge, sink.ErrBehind}).Draw(t, "error")
		failed[k] = errs[i] != nil
	}
	said := slices.Clone(errs)
	switch rapid.IntRange(0, 5).Draw(t, "length") {
	case 0:
		n := rapid.IntRange(0, len(errs)-1).Draw(t, "judged")
		said = said[:n]
		for i := range errs[n:] {
			errs[n+i] = errTransient
		}
	case 1:
		said = append(said, errTransient, errTooLarge)
	}
	return errs, fmt.Errorf("wrapped: %w", &sink.PartialError{Errs: said})
}

func (m *model) returnLocked(w *modelWrite, errs []error) {
	now, aborted := time.Now(), w.ctx.Err() != nil
	var kept []*modelOutput
	failed := false
	for _, x := range w.outputs {
		mine := errs[:len(x.rest)]
		errs = errs[len(x.rest):]
		var rest []int
		var cause error
		permanent := true
		for i, err := range mine {
			if err == nil {
				continue
			}
			rest = append(rest, x.rest[i])
			permanent = permanent && (err == errTooLarge || cause != nil && err == sink.ErrBehind) //nolint:errorlint // drawn above
			if cause == nil {
				cause = err
			}
		}
		x.in, x.settling = nil, true
		switch {
		case cause == nil:
			x.may = "durable"
			continue
		case permanent && !aborted && x.refusal == Ended:
			x.may = "refused"
			continue
		case permanent && !aborted && x.refusal == Hold:
			x.may = "held"
			continue
		}
		x.rest = rest
		kept = append(kept, x)
		if x.owner.cut {
			x.may = "dropped"
		}
		if !aborted && cause != sink.ErrBehind { //nolint:errorlint // drawn above
			failed = true
			x.failedLocked(now)
		}
	}
	if len(kept) == len(w.outputs) && !failed && !aborted {
		kept[0].failedLocked(now)
	}
}

func (x *modelOutput) failedLocked(now time.Time) {
	pause := 50 * time.Millisecond
	for range x.fails {
		pause = min(2*pause, 5*time.Second)
	}
	x.fails++
	if due := &x.owner.due[x.o.Lane]; due.IsZero() {
		*due = now.Add(pause)
	}
}

func (m *model) sleep(t *rapid.T) {
	time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 49, 50, 100, 1000, 5000}).Draw(t, "ms")) * time.Millisecond)
}

// cut cuts an owner, as at the release of a partition, and creates the next one.
func (m *model) cut(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "seldom") > 0 {
		t.Skip("not now")
	}
	synctest.Wait()
	i := rapid.IntRange(0, len(m.owners)-1).Draw(t, "owner")
	m.cutOwner(m.owners[i])
	m.newOwner(fmt.Sprint("after ", m.owners[i].name))
	if len(m.owners) > 5 {
		m.owners = slices.DeleteFunc(m.owners, func(w *modelOwner) bool { return w.cut && w.o.Pending() == 0 })
	}
}

func (m *model) cutOwner(w *modelOwner) {
	m.mu.Lock()
	w.cut = true
	for _, x := range m.list {
		switch {
		case x.owner != w || x.ended != "" || x.in != nil:
		case x.held:
			x.ended = "by Cut" // without a call of Dropped
		case x.may == "":
			x.may = "dropped"
		}
	}
	m.mu.Unlock()
	w.o.Cut()
	m.x.Cut(w.o)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.list {
		if x.owner != w {
			continue
		}
		if x.in != nil && x.ended == "" && x.in.ctx.Err() == nil {
			m.objectLocked("the Write of output %d is not cancelled", x.number)
		}
		if x.may == "dropped" && x.ended == "" && len(x.lanes) == 1 && !x.settling {
			m.objectLocked("output %d is not dropped when Cut returns", x.number)
		}
	}
}

func (m *model) closeWriter(writer int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed[writer]++
	return nil
}

// shutdown closes the outlet, after a failure too: the bubble waits for its goroutines.
func (m *model) shutdown() {
	if m.over {
		return
	}
	m.over = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.x.Close(); err != nil {
			panic(err)
		}
	}()
	for {
		synctest.Wait()
		select {
		case <-done:
			return
		default:
		}
		m.mu.Lock()
		for _, w := range m.writes {
			if w != nil {
				m.returnLocked(w, make([]error, len(w.ms)))
				w.answer <- nil
			}
		}
		m.mu.Unlock()
	}
}
