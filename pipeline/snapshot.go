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

// counters are totals since the start of Run.
type counters struct {
	settled, skipped, failed, retried, postponed, deadLettered, written atomic.Int64
}

// Snapshot describes a pipeline at one moment. It is a value that does not change.
//
// The figures of one partition are consistent; those of different partitions were taken one after the other.
type Snapshot struct {
	State      State
	At         time.Time
	Partitions []PartitionSnapshot // sorted by stream and number
	Source     source.Report       // zero if the source is no source.Reporter
	Sinks      []SinkTrouble       // the sinks that cannot be written now

	Settled      int64 // messages settled since the start of Run
	Skipped      int64 // of these: without effect
	Failed       int64 // messages for which the failure policy was called; each counts once an ownership
	Retried      int64 // handler calls that asked for a retry
	Postponed    int64 // handler calls that asked for Later
	DeadLettered int64 // of the settled: with a durable dead letter
	Written      int64 // of the settled: with durable outputs

	Diverting DivertSnapshot // the diverted keys of all partitions; zero without Builder.Divert

	Workers int // maximum number of concurrent turns
	Running int // running turns
	Ready   int // lanes waiting for a worker

	InFlight      int   // messages fetched and not settled
	InFlightBytes int   // their bytes
	Prefetched    int64 // bytes that the source holds beside these; 0 if it is no source.Prefetcher
	PrefetchLimit int   // Limits.PrefetchBytes; 0 if the source is no source.Prefetcher
	MostInFlight  int   // highest InFlight so far
	MostBytes     int   // highest InFlightBytes so far
	Oversized     int64 // messages admitted alone because they exceed Limits.InFlightBytes

	Bottleneck Bottleneck // the current limit on throughput
}

// PartitionSnapshot describes a partition at one moment.
type PartitionSnapshot struct {
	ID       source.ID
	Frontier int64 // every message below it is settled
	Position int64 // offset of the next fetch
	End      int64 // last known end of the log; -1 if unknown
	Lag      int64 // offsets from Frontier to End; -1 if unknown
	LogEnd   int64 // End with the messages that open transactions hold back; -1 if unknown
	LogLag   int64 // offsets from Frontier to LogEnd; -1 if unknown

	Ahead   int64 // settled messages at or above the frontier
	Replays int64 // maximum settled offsets that a crash now would redeliver

	Committed   int64     // last committed frontier
	CommittedAt time.Time // zero before the first commit of this epoch
	CommitErr   error     // error of the last commit; nil if it was stored

	// Accepted = Settled + Running + Ready + Parked + Sinking + Dropped, in messages of this epoch. A Sinking message has
	// outputs or a dead letter that are not durable yet. The lanes are counted at one moment; a message may count as either
	// Sinking or Settled if its outputs become durable at that moment.
	Accepted, Settled, Running, Ready, Parked, Sinking, Dropped int64

	Waits  Wait // why its fetching waits
	Paused bool // by PausePartition

	Oldest     *KeySnapshot  // key of the oldest unsettled message; nil if none is in a lane or on the way to a sink
	HotKeys    []KeySnapshot // at most 10 keys with the most waiting messages, most first
	ParkedKeys []KeySnapshot // at most 10 keys that are parked or wait for a sink, longest waiting first

	Diverting DivertSnapshot   // its diverted keys; zero without Builder.Divert
	Strands   []StrandSnapshot // at most 10 diverted keys, those with the most records first
}

// KeySnapshot describes a key of a partition at one moment.
type KeySnapshot struct {
	Key     string        // text of its lane (keystrand.Lane), for Resume; empty for a message without order
	Waiting int           // number of messages in its lane
	Offset  int64         // offset of the first message
	Age     time.Duration // time since the first message was fetched
	Attempt int           // attempt of the first message; 0 while its handler runs
	Why     Why           // why the first message waits
	Err     string        // what its last attempt returned; empty if none has failed
	Until   time.Time     // when it is retried, for WhyRetry, and WhyBlocked after BlockFor; else zero
}

// Why says why a key's first message waits.
type Why uint8

// Reasons for a key to wait.
const (
	WhyWorker  Why = iota // for a free worker
	WhyHandler            // for its handler, which runs
	WhyRetry              // for the time of its next attempt
	WhyBlocked            // for Resume, or the end of BlockFor's pause
	WhyEarlier            // for a handler of an earlier epoch, which still runs
	WhySink               // for its outputs, which are not durable yet
	WhyLetter             // for its dead letter, which is not durable yet
	WhyLog                // diverted: for the store, to append or to read
	WhyHeld               // diverted: for an operator, see Pipeline.Held
)

// String returns the reason, such as "a worker".
func (w Why) String() string {
	return nameOf(w, "a worker", "its handler", "its next attempt", "Resume", "the handler of an earlier epoch", "its sink", "its dead letter", "the store", "an operator")
}

// Snapshot returns the current state of the pipeline. It visits every key that has messages, a piece at a time, so that
// it does not block handlers. Call it at most about once a second.
func (p *Pipeline) Snapshot() Snapshot {
	s := Snapshot{
		At:           time.Now(),
		Settled:      p.counts.settled.Load(),
		Skipped:      p.counts.skipped.Load(),
		Failed:       p.counts.failed.Load(),
		Retried:      p.counts.retried.Load(),
		Postponed:    p.counts.postponed.Load(),
		DeadLettered: p.counts.deadLettered.Load(),
		Written:      p.counts.written.Load(),
		Sinks:        p.sinks.troubles(),
	}
	if r, ok := p.cfg.source.(source.Reporter); ok {
		s.Source = r.Report()
	}
	if f, ok := p.cfg.source.(source.Prefetcher); ok {
		s.Prefetched, s.PrefetchLimit = f.Prefetched(), p.cfg.limits.PrefetchBytes
	}
	p.mu.Lock()
	s.State = p.state
	p.mu.Unlock()
	b := p.budget.Stats()
	s.InFlight, s.InFlightBytes = b.Used.Messages, b.Used.Bytes
	s.MostInFlight, s.MostBytes, s.Oversized = b.Most.Messages, b.Most.Bytes, b.Oversized
	for _, pt := range p.partitions() {
		ps := pt.snapshot(p.outputs, s.At)
		s.Diverting = s.Diverting.plus(ps.Diverting)
		s.Partitions = append(s.Partitions, ps)
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
	diverted := pt.diverted.Load()
	counts := pt.queue.Counts()
	st := pt.tracker.State()
	s := PartitionSnapshot{
		ID: pt.id, Frontier: st.Frontier, Position: st.Position, End: -1, Lag: -1, LogEnd: -1, LogLag: -1,
		Ahead: st.Ahead, Replays: pt.commits.Beyond(st),
		Accepted: counts.Submitted + diverted, Running: counts.Running, Ready: counts.Ready, Parked: counts.Parked,
		Waits: Wait(pt.waits.Load()), Paused: pt.paused.Load(),
	}
	// The executor counts waiting and finished messages at one moment. It calls finish before a message leaves its
	// lane, so without a sink every finished message is settled. With a sink, the finished messages that are not
	// settled are on the way to it. Outputs may be cut, and so counted as dropped, before their messages have left.
	dropped := min(pt.dropped.Load(), counts.Finished+diverted)
	left := counts.Finished + diverted - dropped
	s.Settled = min(pt.settled.Load(), left)
	s.Sinking, s.Dropped = left-s.Settled+counts.Waiting, counts.Dropped+dropped
	stored, at, err := pt.commits.Last()
	s.Committed, s.CommittedAt, s.CommitErr = stored.Frontier, at, err
	if end, known := pt.end(); known {
		s.End, s.Lag = end, max(0, end-st.Frontier)
		s.LogEnd, s.LogLag = s.End, s.Lag
	}
	if l, ok := pt.source.(source.LogEnder); ok {
		if end, known := l.LogEnd(); known {
			s.LogEnd, s.LogLag = end, max(0, end-st.Frontier)
		}
	}
	pt.keys(&s, now)
	if pt.divert != nil {
		s.Diverting, s.Strands = pt.divert.snapshot(now)
	}
	if offset, ok := pt.tracker.Offset(st.Oldest); ok && (s.Oldest == nil || s.Oldest.Offset > offset) {
		if k, ok := pt.onTheWay(outputs, st.Oldest, now); ok {
			s.Oldest = &k
		}
	}
	return s
}

// onTheWay returns the key of a message that has left its lane, if its outputs are on the way to the sink.
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
		if o.Held() {
			k.Why = WhyLetter
		}
		return true
	})
	return k, found
}

// keys fills in the keys of s. It visits every lane, a piece at a time.
func (pt *partition) keys(s *PartitionSnapshot, now time.Time) {
	const most = 10
	oldest := int64(-1) // by offset: numbers of an earlier epoch are not comparable
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		k := keySnapshot(l, now)
		if l.Head.isPump() && pt.divert != nil {
			pt.divert.describe(&k, l.Key, now)
		} else {
			k.Err = pt.lastError(&l.Head)
		}
		if l.Len > 0 && !l.Head.isPump() && (oldest < 0 || k.Offset < oldest) {
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
	case l.State == keyed.Waiting && l.Note == noteLog:
		k.Why = WhyLog
	case l.State == keyed.Waiting:
		k.Why = WhySink
	case l.State == keyed.Parked && l.Held:
		k.Why, k.Until = WhyBlocked, l.Until
	case l.State == keyed.Parked:
		k.Why, k.Until = WhyRetry, l.Until
	}
	return k
}

// laneText returns the text of a lane for a snapshot.
func laneText(l keyed.Lane[item]) string {
	if l.Unordered {
		return ""
	}
	return keystrand.Lane(l.Key).String()
}

// keep inserts k, of lane l, in the sorted list and cuts it to most. It makes the lane's text only for an entry that it
// keeps, because there may be a million lanes.
func keep(list []KeySnapshot, k KeySnapshot, l keyed.Lane[item], most int, order func(a, b KeySnapshot) int) []KeySnapshot {
	i, _ := slices.BinarySearchFunc(list, k, order)
	if i == most {
		return list
	}
	k.Key = laneText(l)
	list = slices.Insert(list, i, k)
	return list[:min(len(list), most)]
}
