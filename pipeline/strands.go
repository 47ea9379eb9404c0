package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
)

// DivertSnapshot describes the diverted keys of a partition, or of all partitions, at one moment. Its totals count since the
// partitions were accepted.
//
// Restored + Appended = Drained + Discarded + Records.
type DivertSnapshot struct {
	Strands int           // diverted keys
	Held    int           // of these: held for an operator
	Records int64         // their messages in the store that are not handled
	Bytes   int64         // bytes of these
	Oldest  time.Duration // since the oldest of these was fetched; 0 if there is none

	Restored  int64 // messages that were in the store when the partitions were accepted
	Appended  int64 // messages appended since
	Drained   int64 // messages of the store handled since
	Discarded int64 // messages of the store that an operator has skipped or dropped since

	Err   error     // why the store does not work; nil if it works
	Since time.Time // since when; zero if it works
}

// StrandState says where the messages of a diverted key are, and what they wait for.
type StrandState uint8

// The states of a diverted key.
const (
	StrandDiverting StrandState = iota // its lane has messages from before it was diverted
	StrandDiverted                     // its messages are handled from the store
	StrandHeld                         // it waits for an operator
	StrandClosing                      // few messages are left in the store; new ones wait in the lane behind them
)

// String returns the state, such as "held".
func (s StrandState) String() string {
	return nameOf(s, "diverting", "diverted", "held", "closing")
}

// StrandSnapshot describes a diverted key at one moment.
type StrandSnapshot struct {
	Key     string // text of its lane (keystrand.Lane), for ResumeHeld, SkipHeld and DropHeld
	State   StrandState
	Records int64         // messages in the store that are not handled
	Bytes   int64         // bytes of these
	Age     time.Duration // since the oldest of these was fetched
	Attempt int           // attempts of the first of these
	Err     string        // what the last attempt returned, or why the key is held; empty if none has failed
}

func (st *strand) snapshot(now time.Time) StrandSnapshot {
	s := StrandSnapshot{Key: keystrand.Lane(st.lane).String(), State: st.state(), Records: max(st.records, 0), Bytes: max(st.bytes, 0), Err: st.why}
	if st.oldest != 0 && st.records > 0 {
		s.Age = now.Sub(time.Unix(0, st.oldest))
	}
	if w := st.drain; w != nil && w.items == nil {
		s.Attempt = int(w.attempt)
	}
	return s
}

// figures returns the state of the diverted keys, without Oldest.
func (d *divert) figures(now time.Time) (s DivertSnapshot) {
	hangs, hungSince := d.p.calls.hangs(d.of, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	s = d.totals
	if s.Records < 0 { // handled before their Append has returned
		s.Appended, s.Records = s.Appended-s.Records, 0
	}
	s.Bytes = max(s.Bytes, 0)
	s.Strands, s.Held = len(d.strands), d.held
	switch {
	case d.trouble.err != nil:
		s.Err, s.Since = d.trouble.err, d.trouble.since
	case hangs != "":
		s.Err, s.Since = fmt.Errorf("%s has not returned", hangs), hungSince
	}
	return s
}

// strandSnapshots returns the age of the oldest record, and the strands with the most records.
func (d *divert) strandSnapshots(now time.Time) (oldest time.Duration, most []StrandSnapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var top []*strand
	for _, st := range d.strands {
		if st.oldest != 0 && st.records > 0 {
			oldest = max(oldest, now.Sub(time.Unix(0, st.oldest)))
		}
		i, _ := slices.BinarySearchFunc(top, st, func(a, b *strand) int { return cmp.Or(cmp.Compare(b.records, a.records), cmp.Compare(a.lane, b.lane)) })
		if i < mostKeys {
			top = slices.Insert(top, i, st)
			top = top[:min(len(top), mostKeys)]
		}
	}
	for _, st := range top {
		most = append(most, st.snapshot(now))
	}
	return oldest, most
}

// plus adds the figures of another partition.
func (s DivertSnapshot) plus(o DivertSnapshot) DivertSnapshot {
	s.Strands, s.Held, s.Records, s.Bytes = s.Strands+o.Strands, s.Held+o.Held, s.Records+o.Records, s.Bytes+o.Bytes
	s.Restored, s.Appended, s.Drained, s.Discarded = s.Restored+o.Restored, s.Appended+o.Appended, s.Drained+o.Drained, s.Discarded+o.Discarded
	s.Oldest = max(s.Oldest, o.Oldest)
	if o.Err != nil && (s.Err == nil || o.Since.Before(s.Since)) {
		s.Err, s.Since = o.Err, o.Since
	}
	return s
}

// describe fills in what a pump's lane waits for: the first record of its log.
func (d *divert) describe(k *KeySnapshot, lane string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.strands[lane]
	if st == nil {
		return
	}
	s := st.snapshot(now)
	k.Age, k.Err, k.Attempt = s.Age, s.Err, s.Attempt
	if st.left() > 0 {
		k.Offset = st.drain.turn[st.drain.at].Offset
	}
	if st.held {
		k.Why = WhyHeld
	}
}
