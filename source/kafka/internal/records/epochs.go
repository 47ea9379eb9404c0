package records

import "sync"

// maxMarks bounds the changes of leader that are remembered between the frontier and the position.
const maxMarks = 64

// Epochs remembers which leader epoch wrote which offsets: one mark a change, not one a batch. Safe for concurrent
// use.
type Epochs struct {
	mu    sync.Mutex
	marks []epochMark // ascending in offset
	last  int32       // epoch of the last mark; only touched by see
	any   bool
}

type epochMark struct {
	offset int64
	epoch  int32
}

// see notes that the records from offset on were written in epoch. It is called from one goroutine.
func (e *Epochs) see(offset int64, epoch int32) {
	if e.any && epoch == e.last {
		return
	}
	e.any, e.last = true, epoch
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.marks) == maxMarks {
		e.marks = append(e.marks[:0], e.marks[1:]...)
	}
	e.marks = append(e.marks, epochMark{offset, epoch})
}

// At is Below without forgetting anything.
func (e *Epochs) At(offset int64) int32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	epoch := int32(-1)
	for _, m := range e.marks {
		if m.offset >= offset {
			break
		}
		epoch = m.epoch
	}
	return epoch
}

// Below returns the epoch of the last record below frontier, -1 if it is not known. Marks that only matter for earlier
// frontiers are forgotten.
func (e *Epochs) Below(frontier int64) int32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := -1
	for i, m := range e.marks {
		if m.offset >= frontier {
			break
		}
		found = i
	}
	if found < 0 {
		return -1
	}
	epoch := e.marks[found].epoch
	e.marks = append(e.marks[:0], e.marks[found:]...)
	return epoch
}
