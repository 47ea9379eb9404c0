package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

type handoverRow struct {
	Part      string  `json:"part"`
	Keys      string  `json:"keys"`
	Rate      float64 `json:"per_s"` // messages written
	Handler   float64 `json:"handler_ms"`
	Heartbeat float64 `json:"heartbeat_ms"`
	Usual     float64 `json:"usual_gap_ms"` // longest time without an event of a partition, before the hand-over
	Pause     float64 `json:"pause_ms"`     // the same across the hand-over: the longest of all partitions
	Median    float64 `json:"pause_median_ms"`
	Waited    float64 `json:"longest_wait_ms"` // of a message from its write until its handler began, across the hand-over
	Drain     float64 `json:"drain_ms"`        // longest time from the last start of a handler to the last end
	Bound     float64 `json:"bound_ms"`        // drain + heartbeat + 200
	Moved     int     `json:"moved"`           // partitions that another member owns afterwards
	Must      int     `json:"must_move"`
	Twice     int     `json:"handled_twice"`
	Lost      int     `json:"lost"`
	Goal      string  `json:"goal"`
}

// handover lets a third member join two busy ones on a topic with steady writes. A partition pauses while none of its
// handlers begins or ends. The row has the pause, the messages handled twice, and the longest wait of a message. Finally
// another member reads to the end of the topic; messages still unhandled are lost, which is an error.
//
// The bound is the sum of
//   - the measured drain;
//   - a heartbeat interval, since members learn of the rebalance that much apart;
//   - 200 ms for about a dozen requests in sequence: last commit, join, sync, identity of the log, committed progress,
//     claim, leader, first fetch.
//
// The requests take 30 to 50 ms on a quiet machine. On a busy machine each one waits for CPU: if usual_gap_ms is above
// 100 ms, ignore the bound.
func handover(ctx context.Context, r *run) error {
	t := bench.NewTable("8 partitions, a third member joins", r.json)
	const handler, rate = 20 * time.Millisecond, 2_000
	for _, heartbeat := range pick(r, []time.Duration{3 * time.Second, 500 * time.Millisecond}, []time.Duration{500 * time.Millisecond}) {
		calm := pick(r, 2*time.Second, time.Second)
		keys := bench.Uniform(10_000, 1<<16)
		topic, err := r.fill(ctx, bench.Uniform(10_000, 0), 100)
		if err != nil {
			return err
		}
		feeding, stop := context.WithCancel(ctx)
		var written int
		fed := make(chan error, 1)
		go func() {
			var err error
			written, err = r.kafka.Feed(feeding, topic, rate, func(i int) (int32, []byte, []byte) {
				i %= keys.Len()
				return int32(keys.Number(i) % partitions), keys.At(i), keys.At(i)
			})
			fed <- err
		}()
		m := membership{
			Brokers: r.kafka.Brokers, Topic: topic, Group: topic, Session: max(6*time.Second, 3*heartbeat), Heartbeat: heartbeat,
			Workers: 100, Handler: handler, Begins: true,
		}
		row, h, err := joinThird(ctx, m, calm)
		stop()
		if err := errors.Join(err, <-fed); err != nil {
			return err
		}
		if row.Lost, err = h.lost(ctx, m, written); err != nil {
			return err
		}
		row.Rate = rate
		row.Part, row.Keys, row.Handler, row.Heartbeat = "handover", keys.Name, float64(handler)/1e6, float64(heartbeat)/1e6
		row.Bound = row.Drain + row.Heartbeat + 200
		row.Must = partitions - 2*((partitions+2)/3)
		row.Goal = "pause_ms <= bound_ms, moved = must_move"
		t.Row(row)
		if row.Lost > 0 {
			return fmt.Errorf("heartbeat %v: %d messages lost", heartbeat, row.Lost)
		}
	}
	return nil
}

// history has the events of all members.
type history struct {
	mu      sync.Mutex
	events  []told
	members map[int]bool
	first   chan int // a member's number, at its first event
}

type told struct {
	event
	member int
}

func (h *history) see(member int, e event) {
	h.mu.Lock()
	h.events = append(h.events, told{e, member})
	known := h.members[member]
	h.members[member] = true
	h.mu.Unlock()
	if !known {
		h.first <- member
	}
}

// joinThird runs two members for a while, lets a third join, and evaluates their events.
func joinThird(ctx context.Context, s membership, calm time.Duration) (handoverRow, *history, error) {
	h := &history{members: map[int]bool{}, first: make(chan int, 3)}
	var listening sync.WaitGroup
	var ps []*bench.Process
	start := func(n int) error {
		for member := len(ps); member < n; member++ {
			p, err := bench.Start(ctx, "member", s)
			if err != nil {
				return err
			}
			ps = append(ps, p)
			listening.Go(func() { listen(p.Out, func(e event) { h.see(member, e) }) })
		}
		for heard := len(h.members); heard < n; heard = func() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.members) }() {
			select {
			case <-h.first:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		time.Sleep(calm)
		return nil
	}
	if err := start(2); err != nil {
		return handoverRow{}, nil, err
	}
	joins := time.Now()
	if err := start(3); err != nil {
		return handoverRow{}, nil, err
	}
	stops := time.Now()
	for _, p := range ps {
		p.Ask()
	}
	listening.Wait()
	for _, p := range ps {
		if err := p.Wait(); err != nil {
			return handoverRow{}, nil, err
		}
	}
	row, err := h.row(joins.Add(-calm*3/4), joins, stops)
	return row, h, err
}

// lost lets a member handle the rest of the topic, and returns the number of messages that no member handled.
func (h *history) lost(ctx context.Context, s membership, written int) (int, error) {
	handled := make(map[place]bool, written)
	for _, e := range h.events {
		if e.kind == 'e' {
			handled[place{e.partition, e.offset}] = true
		}
	}
	s.Finite, s.Handler, s.Begins = true, 0, false
	p, err := bench.Start(ctx, "member", s)
	if err != nil {
		return 0, err
	}
	listen(p.Out, func(e event) { handled[place{e.partition, e.offset}] = true })
	return written - len(handled), p.Wait()
}

// row compares the events of a calm period before the third member joined with those after.
func (h *history) row(calm, joins, stops time.Time) (handoverRow, error) {
	var row handoverRow
	slices.SortStableFunc(h.events, func(a, b told) int { return a.at.Compare(b.at) })
	ended := map[place]bool{}
	for _, e := range h.events {
		if at := (place{e.partition, e.offset}); e.kind == 'e' {
			ended[at] = true
		} else if ended[at] {
			row.Twice++
		}
	}
	var pauses []float64
	for p := range int32(partitions) {
		var mine []told
		for _, e := range h.events {
			if e.partition == p {
				mine = append(mine, e)
			}
		}
		if len(mine) < 2 {
			return row, fmt.Errorf("partition %d has only %d events", p, len(mine))
		}
		usual, _ := longest(mine, calm, joins)
		row.Usual = max(row.Usual, ms(mine[usual].at.Sub(mine[max(0, usual-1)].at)))
		for _, e := range mine {
			if e.kind == 's' && e.at.After(joins) && e.at.Before(stops) {
				row.Waited = max(row.Waited, ms(e.at.Sub(e.written)))
			}
		}
		rested, moved := longest(mine, joins, stops)
		if moved {
			row.Moved++
		}
		before := mine[max(0, rested-1)].at
		pauses = append(pauses, ms(mine[rested].at.Sub(before)))
		for i := rested - 1; i >= 0; i-- {
			if mine[i].kind == 's' {
				row.Drain = max(row.Drain, ms(before.Sub(mine[i].at)))
				break
			}
		}
	}
	row.Pause, row.Median = slices.MaxFunc(pauses, cmp.Compare[float64]), bench.Median(pauses)
	return row, nil
}

// longest returns the index of the event after the longest time without one. If the partition moved in that time, this is
// the first event of its new member.
func longest(events []told, from, to time.Time) (at int, moved bool) {
	var gap time.Duration
	for i := 1; i < len(events); i++ {
		e, before := events[i], events[i-1]
		if before.at.Before(from) || e.at.After(to) {
			continue
		}
		if e.member != before.member {
			return i, true
		}
		if d := e.at.Sub(before.at); d > gap {
			gap, at = d, i
		}
	}
	return at, false
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
