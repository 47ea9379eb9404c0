package outlet

import (
	"sync"
	"time"
)

// Trouble says that outputs wait because Writes fail.
type Trouble struct {
	Err   error     // error of the last Write that failed
	Since time.Time // when Writes began to fail
}

// Trouble returns the trouble of the writer whose Writes have failed longest, and reports whether there is one.
func (x *Outlet[X]) Trouble() (t Trouble, found bool) {
	for _, w := range x.writers {
		if one := w.trouble.now(); one.Err != nil && w.waiting() && (!found || one.Since.Before(t.Since)) {
			t, found = one, true
		}
	}
	return t, found
}

// Writing returns when the oldest running Write began; zero if none runs.
func (x *Outlet[X]) Writing() (since time.Time) {
	for _, w := range x.writers {
		if at := w.trouble.running(); !at.IsZero() && (since.IsZero() || at.Before(since)) {
			since = at
		}
	}
	return since
}

// Waiting reports whether the owner has outputs that have reached their writers, and whether one of them is to be written:
// it is not halted or held, nor behind one that is.
func (x *Outlet[X]) Waiting(w *Owner[X]) (some, writable bool) {
	for _, wr := range x.writers {
		has, write := wr.waitingFor(w)
		some, writable = some || has, writable || write
	}
	return some, writable
}

// trouble tells whether Writes of one writer run and fail.
type trouble struct {
	mu   sync.Mutex
	last Trouble   // zero while Writes succeed; guarded by mu
	busy time.Time // when the running Write began; zero if none runs; guarded by mu
}

func (t *trouble) began() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = time.Now()
}

// ended records the result of a Write. It reports whether Writes begin to fail. Trouble lasts while any output waits to be
// written again, because Writes of other lanes may succeed meanwhile.
func (t *trouble) ended(cause error, retries bool) (begins bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = time.Time{}
	switch {
	case cause == nil && !retries:
		t.last = Trouble{}
	case cause != nil && t.last.Err == nil:
		t.last = Trouble{cause, time.Now()}
		return true
	case cause != nil:
		t.last.Err = cause
	}
	return false
}

// forget ends the trouble, unless a Write runs, which tells.
func (t *trouble) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy.IsZero() {
		t.last = Trouble{}
	}
}

func (t *trouble) now() Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *trouble) running() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.busy
}

// retries reports whether a lane waits to be written again.
func (w *writer[X]) retries() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.later) > 0
}

// waiting reports whether the writer has outputs.
func (w *writer[X]) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all) > 0
}

// waitingFor reports what Waiting does, of one writer.
func (w *writer[X]) waitingFor(owner *Owner[X]) (some, writable bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, l := range w.all {
		if id.owner != owner {
			continue
		}
		if l.head.state == outputPending {
			return true, true
		}
		some = true
	}
	return some, false
}
