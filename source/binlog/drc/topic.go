package drc

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// maxRead bounds the transactions that a stream takes from its topic at once.
const maxRead = 64

// topic is a log of transactions and its subscribers. It is safe for concurrent use.
type topic struct {
	name, log string
	retain    int // records

	appending sync.Mutex // serialises appends; lock order: before mu

	mu          sync.Mutex
	kept        []transaction
	first       position // number of kept[0]
	records     int      // in kept
	tables      map[string]bool
	grown       chan struct{} // closed and replaced by an append
	subscribers []*subscriber // in the order of their arrival; the first is active
}

// transaction is an encoded transaction.
type transaction struct {
	lines  []line
	commit []byte
}

// line is an encoded row or statement.
type line struct {
	tables []string // that it concerns; none: any
	text   []byte
}

func newTopic(name, log string, retain int) *topic {
	return &topic{name: name, log: log, retain: retain, first: 1, tables: make(map[string]bool), grown: make(chan struct{})}
}

// append appends a transaction. It drops the oldest transactions above the number of records to retain, but never the last.
func (t *topic) append(records []Record) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	t.mu.Lock()
	number := t.endLocked() + 1
	t.mu.Unlock()
	tx, err := t.encode(number, records)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, tx)
	t.records += len(tx.lines)
	for t.records > t.retain && len(t.kept) > 1 {
		t.records -= len(t.kept[0].lines)
		t.kept[0] = transaction{} // readers have copies
		t.kept = t.kept[1:]
		t.first++
	}
	for _, l := range tx.lines {
		for _, table := range l.tables {
			t.tables[table] = true
		}
	}
	close(t.grown)
	t.grown = make(chan struct{})
	return nil
}

func (t *topic) endLocked() position { return t.first + position(len(t.kept)) - 1 }

// view is what a stream sees of its topic.
type view struct {
	state        State
	transactions []transaction
	oldest, end  position
	changed      <-chan struct{} // closed when the next view differs; nil: only heartbeats are left
}

// view returns what the stream sees, and what it has to send next. An error ends the stream.
func (t *topic) view(s *stream) (view, *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{state: Waiting, oldest: t.first - 1, end: t.endLocked(), changed: s.subscriber.turn}
	if t.subscribers[0] != s.subscriber {
		return v, nil
	}
	v.state = Active
	if s.selection.from == none {
		v.changed = nil
		return v, nil
	}
	if !s.begun {
		passed, err := s.selection.begin(t, v.oldest, v.end)
		if err != nil {
			return v, err
		}
		s.passed, s.begun = passed, true
	}
	if s.passed < v.oldest {
		return v, t.errorAt(Gone, "", s.passed, v.oldest, v.end)
	}
	next := int(s.passed + 1 - t.first)
	v.transactions = slices.Clone(t.kept[next:min(len(t.kept), next+maxRead)])
	v.changed = t.grown
	return v, nil
}

// join adds a stream to its subscriber, which it makes if there is none of this name.
func (t *topic) join(name string, s *stream, newSubscriber func() *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.subscriber = t.findLocked(name)
	if s.subscriber == nil {
		s.subscriber = newSubscriber()
		t.subscribers = append(t.subscribers, s.subscriber)
		if len(t.subscribers) == 1 {
			close(s.subscriber.turn)
		}
	}
	s.subscriber.streams = append(s.subscriber.streams, s)
}

// leave removes a stream. A subscriber without streams leaves, and the next one becomes active.
func (t *topic) leave(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sub := s.subscriber
	sub.streams = slices.DeleteFunc(sub.streams, func(other *stream) bool { return other == s })
	if len(sub.streams) > 0 {
		return
	}
	sub.timer.Stop()
	active := t.subscribers[0] == sub
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *subscriber) bool { return other == sub })
	if active && len(t.subscribers) > 0 {
		close(t.subscribers[0].turn)
	}
}

// find returns the subscriber of this name, or nil.
func (t *topic) find(name string) *subscriber {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.findLocked(name)
}

// findLocked ignores a subscriber that has timed out: it only waits for its streams to end.
func (t *topic) findLocked(name string) *subscriber {
	for _, s := range t.subscribers {
		if s.name == name && !s.expired {
			return s
		}
	}
	return nil
}

// expire ends a subscriber that has timed out. It leaves with the last of its streams.
func (t *topic) expire(sub *subscriber) {
	t.mu.Lock()
	sub.expired = true
	streams := slices.Clone(sub.streams)
	t.mu.Unlock()
	for _, s := range streams {
		s.cancel(errTimedOut)
	}
}

// info returns the topic's line in the list of topics.
func (t *topic) info() TopicInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	info := TopicInfo{
		Topic: t.name, Log: t.log, Oldest: t.checkpoint(t.first - 1), End: t.checkpoint(t.endLocked()),
		Records: t.records, Tables: slices.AppendSeq([]string{}, maps.Keys(t.tables)),
	}
	slices.Sort(info.Tables)
	for i, s := range t.subscribers {
		if i == 0 {
			info.Active = s.name
		} else {
			info.Waiting = append(info.Waiting, s.name)
		}
	}
	return info
}

// errorAt returns an error about a position that cannot be read.
func (t *topic) errorAt(code Code, table string, at, oldestNow, endNow position) *Error {
	e := &Error{
		Code: code, Table: table, Checkpoint: t.checkpoint(at), Oldest: t.checkpoint(oldestNow), End: t.checkpoint(endNow),
	}
	if code == Ahead {
		e.Message = fmt.Sprintf("checkpoint %s is ahead of the log, which ends at %s: if the server was restarted, wait for its feed",
			e.Checkpoint, e.End)
	} else {
		e.Message = fmt.Sprintf("checkpoint %s is gone, the oldest is %s: begin there, and rows between them are missing",
			e.Checkpoint, e.Oldest)
	}
	return e
}
