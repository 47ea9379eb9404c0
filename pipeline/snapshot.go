package pipeline

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// counters count since the start of Run.
type counters struct {
	settled, skipped, failed, retried, deadLettered, written atomic.Int64
}

// Snapshot is what a pipeline does at one moment. It is a value; nothing in it changes.
//
// The figures of one partition belong together; those of different partitions were taken one after the other.
type Snapshot struct {
	State      State
	At         time.Time
	Partitions []PartitionSnapshot // by stream and number
	Source     source.Report       // zero for a source that does not tell how it is

	Settled      int64 // messages, since the start of Run, as all of these
	Skipped      int64 // of the settled: without effect
	Failed       int64 // asked the failure policy
	Retried      int64 // handler calls that asked for another
	DeadLettered int64 // of the settled: their dead letter is durable
	Written      int64 // of the settled: their outputs are durable

	Workers int // turns that may run at once
	Running int // turns that do
	Ready   int // lanes that wait for a worker

	InFlight      int   // messages fetched and not settled
	InFlightBytes int   // their bytes
	MostInFlight  int   // the largest InFlight has been
	MostBytes     int   // the largest InFlightBytes has been
	Oversized     int64 // messages let in alone because they are larger than Limits.InFlightBytes

	Bottleneck Bottleneck // what limits the throughput now
}

// PartitionSnapshot is one partition at one moment.
type PartitionSnapshot struct {
	ID       source.ID
	Frontier int64 // below it everything is settled
	Position int64 // where the next fetch begins
	End      int64 // of the log, as last heard; -1 if unknown
	Lag      int64 // offsets from Frontier to End; -1 if unknown

	Ahead   int64 // settled messages at or above the frontier
	Replays int64 // settled offsets that a crash now would hand out again, at most

	Committed   int64     // the frontier that was committed last
	CommittedAt time.Time // zero if not yet in this epoch
	CommitErr   error     // why the last commit failed; nil if it was stored

	// Accepted = Settled + Running + Ready + Parked + Sinking + Dropped, in messages, in this epoch. Those in lanes were
	// counted at one moment; a message whose outputs became durable at that very moment may count as either Sinking or
	// Settled. Sinking are those whose outputs or dead letter are on the way.
	Accepted, Settled, Running, Ready, Parked, Sinking, Dropped int64

	Waits  Wait // what its fetching waits for
	Paused bool // by an operator

	Oldest     *KeySnapshot  // the oldest unsettled message and its key; nil if there is none in a lane or before the sink
	HotKeys    []KeySnapshot // the keys with the most messages waiting, most first; at most 10
	ParkedKeys []KeySnapshot // keys that are parked, or wait for a sink; the longest waiting first; at most 10
}

// KeySnapshot is one key of a partition at one moment.
type KeySnapshot struct {
	Key     string        // the text of its lane (keystrand.Lane), which Resume takes; empty for a message without order
	Waiting int           // messages in its lane
	Offset  int64         // of the first of them
	Age     time.Duration // since it was fetched
	Attempt int           // of its handler; 0 while it runs
	Why     Why           // what it waits for
	Until   time.Time     // with WhyRetry, and with WhyBlocked after BlockFor: when it is tried again; else zero
}

// Why is what a key's first message waits for.
type Why uint8

// What a key can wait for.
const (
	WhyWorker  Why = iota // a free worker
	WhyHandler            // its handler, which runs
	WhyRetry              // the time of its next attempt
	WhyBlocked            // an operator's Resume, or the end of the pause of BlockFor
	WhyEarlier            // a handler of an earlier epoch, which still runs
	WhySink               // its outputs, which are not durable yet
	WhyLetter             // its dead letter, which is not durable yet
)

// String says what is waited for.
func (w Why) String() string {
	switch w {
	case WhyWorker:
		return "a worker"
	case WhyHandler:
		return "its handler"
	case WhyRetry:
		return "its next attempt"
	case WhyBlocked:
		return "Resume"
	case WhyEarlier:
		return "the handler of an earlier epoch"
	case WhySink:
		return "its sink"
	case WhyLetter:
		return "its dead letter"
	}
	return "unknown"
}

// Snapshot returns what the pipeline does now. It looks at every key that has messages, a piece at a time, so that
// handlers are not held up; call it about once a second at most.
func (p *Pipeline) Snapshot() Snapshot {
	s := Snapshot{
		At:           time.Now(),
		Settled:      p.counts.settled.Load(),
		Skipped:      p.counts.skipped.Load(),
		Failed:       p.counts.failed.Load(),
		Retried:      p.counts.retried.Load(),
		DeadLettered: p.counts.deadLettered.Load(),
		Written:      p.counts.written.Load(),
	}
	if r, ok := p.cfg.source.(source.Reporter); ok {
		s.Source = r.Report()
	}
	p.mu.Lock()
	s.State = p.state
	p.mu.Unlock()
	b := p.budget.Stats()
	s.InFlight, s.InFlightBytes = b.Used.Messages, b.Used.Bytes
	s.MostInFlight, s.MostBytes, s.Oversized = b.Most.Messages, b.Most.Bytes, b.Oversized
	for _, pt := range p.partitions() {
		s.Partitions = append(s.Partitions, pt.snapshot(p.outputs, s.At))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionSnapshot) int {
		return cmp.Or(cmp.Compare(a.ID.Stream, b.ID.Stream), cmp.Compare(a.ID.Partition, b.ID.Partition))
	})
	e := p.exec.Stats()
	s.Workers, s.Running, s.Ready = e.Workers, e.Running, e.ReadyLanes
	s.Bottleneck = s.bottleneck()
	return s
}

func (pt *partition) snapshot(outputs *outlets, now time.Time) PartitionSnapshot {
	counts := pt.queue.Counts()
	st := pt.tracker.State()
	s := PartitionSnapshot{
		ID: pt.id, Frontier: st.Frontier, Position: st.Position, End: -1, Lag: -1,
		Ahead: st.Ahead, Replays: pt.commits.Beyond(st),
		Accepted: counts.Submitted, Running: counts.Running, Ready: counts.Ready, Parked: counts.Parked,
		Waits: Wait(pt.waits.Load()), Paused: pt.paused.Load(),
	}
	// The lanes know what has left them, in the same moment as all they hold. It is told as settled before they let it
	// go, so without a sink all of it is; with one, what is not settled yet is on its way there. Outputs can be cut, and so
	// counted as dropped, before their messages have left.
	dropped := min(pt.dropped.Load(), counts.Finished)
	left := counts.Finished - dropped
	s.Settled = min(pt.settled.Load(), left)
	s.Sinking, s.Dropped = left-s.Settled+counts.Waiting, counts.Dropped+dropped
	stored, at, err := pt.commits.Last()
	s.Committed, s.CommittedAt, s.CommitErr = stored.Frontier, at, err
	if l, ok := pt.source.(source.Lagger); ok {
		if end, known := l.End(); known {
			s.End, s.Lag = end, max(0, end-st.Frontier)
		}
	}
	pt.keys(&s, now)
	if offset, ok := pt.tracker.Offset(st.Oldest); ok && (s.Oldest == nil || s.Oldest.Offset > offset) {
		if k, ok := pt.onTheWay(outputs, st.Oldest, now); ok {
			s.Oldest = &k
		}
	}
	return s
}

// onTheWay returns the key of a message that has left its lane, and whether its outputs are on the way.
func (pt *partition) onTheWay(outputs *outlets, number int64, now time.Time) (k KeySnapshot, found bool) {
	if outputs == nil {
		return k, false
	}
	found = outputs.Find(pt.outputs, func(o *output) bool {
		m := &o.Value.input
		if o.Value.number != number {
			return false
		}
		k = KeySnapshot{Waiting: 1, Offset: m.Offset, Age: now.Sub(m.Fetched), Attempt: int(m.Attempt), Why: WhySink}
		if o.Value.named {
			k.Key = o.Value.lane.String()
		}
		return true
	})
	return k, found
}

// keys looks at every lane, a segment at a time.
func (pt *partition) keys(s *PartitionSnapshot, now time.Time) {
	const most = 10
	oldest := int64(-1) // by offset: numbers of an earlier epoch's handler say nothing here
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		k := keySnapshot(l, now)
		if l.Len > 0 && (oldest < 0 || k.Offset < oldest) {
			k.Key = laneText(l)
			oldest, s.Oldest = k.Offset, &k
		}
		if l.Len > 1 {
			s.HotKeys = keep(s.HotKeys, k, l, most, func(a, b KeySnapshot) int { return cmp.Compare(b.Waiting, a.Waiting) })
		}
		if l.State == keyed.Parked || l.State == keyed.Waiting {
			s.ParkedKeys = keep(s.ParkedKeys, k, l, most, func(a, b KeySnapshot) int { return cmp.Compare(b.Age, a.Age) })
		}
		return true
	})
}

func keySnapshot(l keyed.Lane[item], now time.Time) KeySnapshot {
	k := KeySnapshot{Waiting: l.Len, Offset: l.Head.Offset, Attempt: int(l.Head.Attempt), Age: now.Sub(l.Head.Fetched)}
	switch {
	case l.EarlierEpoch:
		k.Why = WhyEarlier
	case l.State == keyed.Running:
		k.Why = WhyHandler
	case l.State == keyed.Waiting && l.Note == noteLetter:
		k.Why = WhyLetter
	case l.State == keyed.Waiting:
		k.Why = WhySink
	case l.State == keyed.Parked && l.Held:
		k.Why, k.Until = WhyBlocked, l.Until
	case l.State == keyed.Parked:
		k.Why, k.Until = WhyRetry, l.Until
	}
	return k
}

// laneText returns what a snapshot calls a lane.
func laneText(l keyed.Lane[item]) string {
	if l.Unordered {
		return ""
	}
	return keystrand.Lane(l.Key).String()
}

// keep inserts k, of lane l, in the sorted list and cuts it to most. Only what it keeps is given a text: there may be a
// million lanes.
func keep(list []KeySnapshot, k KeySnapshot, l keyed.Lane[item], most int, order func(a, b KeySnapshot) int) []KeySnapshot {
	i, _ := slices.BinarySearchFunc(list, k, order)
	if i == most {
		return list
	}
	k.Key = laneText(l)
	list = slices.Insert(list, i, k)
	return list[:min(len(list), most)]
}
