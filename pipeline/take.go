package pipeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// Snapshot returns the current state of the pipeline. It visits every key that has messages, a piece at a time, so that
// it does not block handlers. Call it at most about once a second.
func (p *Pipeline) Snapshot() Snapshot { return p.snapshot(true) }

// Counts returns a Snapshot without what needs a visit of keys: Oldest, HotKeys, ParkedKeys, StuckKeys, Strands, Diverting.Oldest,
// Gaps and AheadRanges are zero. It costs about a microsecond for each partition, so metrics may call it every second.
func (p *Pipeline) Counts() Snapshot { return p.snapshot(false) }

func (p *Pipeline) snapshot(keys bool) Snapshot {
	s := Snapshot{
		Name:         p.cfg.name,
		At:           time.Now(),
		System:       p.cfg.described.System,
		Group:        p.cfg.described.Group,
		Servers:      slices.Clone(p.cfg.described.Servers),
		Limits:       p.cfg.limits,
		Timing:       p.cfg.timing,
		Settled:      p.counts.settled.Load(),
		Skipped:      p.counts.skipped.Load(),
		Failed:       p.counts.failed.Load(),
		Retried:      p.counts.retried.Load(),
		Postponed:    p.counts.postponed.Load(),
		DeadLettered: p.counts.deadLettered.Load(),
		Written:      p.counts.written.Load(),
		Outputs:      p.counts.outputs.Load(),
		Sinks:        p.sinks.troubles(),
	}
	if r, ok := p.cfg.source.(source.Reporter); ok {
		s.Source = r.Report()
	}
	if f, ok := p.cfg.source.(source.Prefetcher); ok {
		s.Prefetched, s.PrefetchLimit = f.Prefetched(), p.cfg.limits.PrefetchBytes
	}
	p.mu.Lock()
	s.State, s.Started = p.state, p.runSince
	p.mu.Unlock()
	b := p.budget.Stats()
	s.InFlight, s.InFlightBytes = b.Used.Messages, b.Used.Bytes
	s.MostInFlight, s.MostBytes, s.Oversized = b.Most.Messages, b.Most.Bytes, b.Oversized
	p.partitionSnapshots(&s, keys)
	e := p.exec.Stats()
	s.Workers, s.Running, s.Ready, s.Parked = e.Workers, e.Running, e.ReadyLanes, e.ParkedLanes
	s.Turns, s.Busy, s.Limits.Workers = e.Turns, e.Busy, e.Workers
	s.Bottleneck = s.bottleneck()
	return s
}

func (p *Pipeline) partitionSnapshots(s *Snapshot, keys bool) {
	all, leaving := p.partitions(), p.report.releases()
	slices.SortFunc(all, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.id.Stream, b.id.Stream), cmp.Compare(a.id.Partition, b.id.Partition))
	})
	if len(all) > 0 {
		s.Partitions = make([]PartitionSnapshot, len(all))
	}
	for i, pt := range all {
		ps := &s.Partitions[i]
		pt.figures(ps, s.At)
		ps.Leaving = leaving[pt]
		used, guaranteed := p.budget.Of(pt.share)
		ps.InFlight, ps.InFlightBytes, ps.Guaranteed, ps.GuaranteedBytes = used.Messages, used.Bytes, guaranteed.Messages, guaranteed.Bytes
		if keys {
			pt.details(ps, p.outputs, s.At)
		}
		s.Diverting = s.Diverting.plus(ps.Diverting)
	}
}

// figures fills in what needs no visit of keys.
func (pt *partition) figures(s *PartitionSnapshot, now time.Time) {
	diverted := pt.diverted.Load()
	counts := pt.queue.Counts()
	st := pt.tracker.State()
	last := pt.commits.Last()
	*s = PartitionSnapshot{
		ID: pt.id, AcceptedAt: pt.acceptedAt, Frontier: st.Frontier, Position: st.Position, End: -1, Lag: -1, LogEnd: -1, LogLag: -1,
		Ahead: st.Ahead, RestoredAhead: pt.tracker.Restored(), Replays: pt.commits.Beyond(st),
		Committed: last.Stored.Frontier, CommittedAt: last.At, CommitErr: last.Err, CommitErrSince: last.Since, LastCommitTook: last.Took,
		OldestAge: pt.fetches.age(st.Oldest, now),
		Accepted:  counts.Submitted + diverted, Running: counts.Running, Ready: counts.Ready, Parked: counts.Parked,
		Waits: Wait(pt.waits.Load()), Paused: pt.paused.Load(), Stuck: int(min(pt.stuck.Load(), counts.Running)),
	}
	// The executor counts waiting and finished messages at one moment. It calls finish before a message leaves its
	// lane, so without a sink every finished message is settled. With a sink, the finished messages that are not
	// settled are on the way to it. Outputs may be cut, and so counted as dropped, before their messages have left.
	dropped := min(pt.dropped.Load(), counts.Finished+diverted)
	left := counts.Finished + diverted - dropped
	s.Settled = min(pt.settled.Load(), left)
	s.Sinking, s.Dropped = left-s.Settled+counts.Waiting, counts.Dropped+dropped
	if end, known := pt.end(); known {
		s.End, s.Lag = end, max(0, end-st.Frontier)
		s.LogEnd, s.LogLag = s.End, s.Lag
	}
	if l, ok := pt.source.(source.LogEnder); ok {
		if end, known := l.LogEnd(); known {
			s.LogEnd, s.LogLag = end, max(0, end-st.Frontier)
		}
	}
	if pt.divert != nil {
		s.Diverting = pt.divert.figures(now)
	}
}

// details fills in the rest, after figures.
func (pt *partition) details(s *PartitionSnapshot, outputs *outlets, now time.Time) {
	const most = 64
	if s.Ahead+s.RestoredAhead > 0 {
		all := pt.tracker.Progress().Ahead
		s.Gaps, s.AheadRanges = len(all), slices.Clone(all[:min(len(all), most)])
	}
	pt.keys(s, now)
	if pt.divert != nil {
		s.Diverting.Oldest, s.Strands = pt.divert.strandSnapshots(now)
	}
	oldest := pt.tracker.State().Oldest
	if offset, ok := pt.tracker.Offset(oldest); ok && (s.Oldest == nil || s.Oldest.Offset > offset) {
		if k, ok := pt.onTheWay(outputs, oldest, now); ok {
			s.Oldest = &k
		}
	}
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

// mostKeys is how many keys each list of a PartitionSnapshot has.
const mostKeys = 10

// keys fills in the keys of s. It visits every lane, a piece at a time.
func (pt *partition) keys(s *PartitionSnapshot, now time.Time) {
	oldest := int64(-1) // by offset: numbers of an earlier epoch are not comparable
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		k := keySnapshot(l, now)
		if l.Head.isPump() && pt.divert != nil {
			pt.divert.describe(&k, l.Key, now)
		} else {
			pt.attempted(&k, &l)
		}
		if s.Stuck > len(s.StuckKeys) && len(s.StuckKeys) < mostKeys && l.State == keyed.Running && l.Head.Epoch == pt.id.Epoch {
			s.StuckKeys = append(s.StuckKeys, laneText(l))
		}
		if l.Len > 0 && !l.Head.isPump() && (oldest < 0 || k.Offset < oldest) {
			k.Key = laneText(l)
			oldest, s.Oldest = k.Offset, &k
		}
		if l.Len > 1 {
			s.HotKeys = keep(s.HotKeys, k, l, func(a, b KeySnapshot) int { return cmp.Compare(b.Waiting, a.Waiting) })
		}
		if l.State == keyed.Parked || l.State == keyed.Waiting {
			s.ParkedKeys = keep(s.ParkedKeys, k, l, func(a, b KeySnapshot) int { return cmp.Compare(b.Age, a.Age) })
		}
		return true
	})
}

func keySnapshot(l keyed.Lane[item], now time.Time) KeySnapshot {
	k := KeySnapshot{
		Waiting: l.Len, Offset: l.Head.Offset, Attempt: int(l.Head.Attempt), Age: now.Sub(l.Head.Fetched), Since: l.Since,
		Unordered: l.Unordered, Barrier: l.Barrier,
	}
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

// keep inserts k, of lane l, in the sorted list and cuts it to mostKeys. It makes the lane's text only for an entry that it
// keeps, because there may be a million lanes.
func keep(list []KeySnapshot, k KeySnapshot, l keyed.Lane[item], order func(a, b KeySnapshot) int) []KeySnapshot {
	i, _ := slices.BinarySearchFunc(list, k, order)
	if i == mostKeys {
		return list
	}
	k.Key = laneText(l)
	list = slices.Insert(list, i, k)
	return list[:min(len(list), mostKeys)]
}
