package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

type crashRow struct {
	Part       string  `json:"part"`
	Gaps       string  `json:"gaps"`
	Partitions int     `json:"partitions"`
	Settled    int     `json:"settled"` // at the kill
	Rate       float64 `json:"per_s"`
	Kills      int     `json:"kills"`
	Replayed   int     `json:"replayed"` // the most of all kills
	Interval   int     `json:"settled_in_an_interval"`
	Lost       int     `json:"lost"`
	Goal       string  `json:"goal"`
}

// crash kills a process (kill -9) that has settled many messages ahead of an unsettled one, starts another, and counts the
// messages handled twice. Each kill has another moment between two commits. A row with a lost message ends the command with
// an error.
func crash(ctx context.Context, r *run) error {
	t := bench.NewTable("kill -9, commits every second", r.json)
	const rate = 20_000
	settled := pick(r, 100_000, 20_000)
	for _, c := range []struct {
		gaps  string
		stuck stuckKeys
		parts int
	}{
		{"one stuck message", stuckOne, 1},
		{"one stuck message", stuckOne, partitions},
		{"every second key stuck", stuckHalf, 1},
		{"every second key stuck", stuckHalf, partitions},
	} {
		kills := pick(r, 3, 1)
		row := crashRow{Part: "crash", Gaps: c.gaps, Partitions: c.parts, Settled: settled, Kills: kills}
		if c.stuck == stuckOne {
			row.Goal = "replayed <= settled_in_an_interval"
		}
		for kill := range kills {
			n := (settled + kills*rate/3 + 10_000) * int(max(1, c.stuck))
			keys := bench.Uniform(10_000, n)
			value := make([]byte, 100)
			topic, err := r.kafka.Fill(ctx, c.parts, n, func(i int) (int32, []byte, []byte) {
				if i == 0 {
					return 0, []byte("stuck"), value
				}
				return int32(i % c.parts), keys.At(i), value
			})
			if err != nil {
				return err
			}
			s := membership{Brokers: r.kafka.Brokers, Topic: topic, Group: topic, Session: r.session, Workers: 256, Rate: rate, Stuck: c.stuck}
			if c.stuck == stuckHalf { // the defaults of InFlight and MaxReplay would pause it
				s.InFlight, s.MaxReplay = 2*n, 4*n
			}
			one, err := crashOnce(ctx, s, settled+kill*rate/3, n)
			if err != nil {
				return err
			}
			row.Replayed, row.Lost = max(row.Replayed, one.replayed), row.Lost+one.lost
			row.Interval = max(row.Interval, one.interval)
			row.Rate = max(row.Rate, one.rate)
		}
		t.Row(row)
		if row.Lost > 0 {
			return fmt.Errorf("%s, %d partitions: %d messages lost", row.Gaps, row.Partitions, row.Lost)
		}
	}
	return nil
}

type crashed struct {
	replayed, lost, interval int
	rate                     float64
}

type place struct {
	partition int32
	offset    int64
}

// crashOnce kills a member that has settled enough messages, and runs another one to the end of the topic.
func crashOnce(ctx context.Context, s membership, settled, messages int) (crashed, error) {
	first, err := bench.Start(ctx, "member", s)
	if err != nil {
		return crashed{}, err
	}
	done := make(map[place]bool, messages)
	var began, ended time.Time
	var kill sync.Once
	times := make([]time.Time, 0, messages)
	listen(first.Out, func(e event) {
		if began.IsZero() {
			began = e.at
		}
		ended = e.at
		done[place{e.partition, e.offset}] = true
		times = append(times, e.at)
		if len(done) >= settled {
			kill.Do(first.Kill)
		}
	})
	_ = first.Wait() // it was killed: an error is expected
	if len(done) < settled {
		return crashed{}, fmt.Errorf("member ended early, after %d messages", len(done))
	}
	s.Finite, s.Rate, s.Stuck = true, 0, stuckNone
	second, err := bench.Start(ctx, "member", s)
	if err != nil {
		return crashed{}, err
	}
	c := crashed{rate: float64(len(done)) / ended.Sub(began).Seconds(), interval: most(times, time.Second)}
	again := make(map[place]bool, messages)
	listen(second.Out, func(e event) {
		at := place{e.partition, e.offset}
		if done[at] {
			c.replayed++
		}
		again[at] = true
	})
	if err := second.Wait(); err != nil {
		return crashed{}, err
	}
	for at := range again {
		done[at] = true
	}
	c.lost = messages - len(done)
	return c, nil
}

// most returns the largest number of times in one interval.
func most(times []time.Time, interval time.Duration) int {
	n, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) > interval {
			from++
		}
		n = max(n, to-from+1)
	}
	return n
}
