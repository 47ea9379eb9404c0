package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

const (
	partitions   = 8
	baselineTime = 4 * time.Second
)

// table is what the quickstart has found out.
type table struct {
	Baseline   float64 `json:"baseline_per_s"`   // messages a second with one ordered consumer a partition
	Keystrand  float64 `json:"keystrand_per_s"`  // messages a second with keystrand, while a process ran
	Speedup    float64 `json:"speedup"`          // of the two
	Violations int     `json:"order_violations"` // a message began before the one before it of its post was settled
	Overlaps   int     `json:"overlaps"`         // two messages of a post at once
	Lost       int     `json:"lost"`             // never settled
	Replayed   int     `json:"replayed"`         // handled by both processes
	Committed  int     `json:"committed"`        // of the messages that the killed process had begun
	Bound      int     `json:"replay_bound"`     // what the crash could replay: begun, and not in the last commit
}

// show runs the whole demonstration.
func show(b broker, messages int, asJSON bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	say := func(format string, args ...any) {
		if !asJSON {
			fmt.Printf(format, args...)
		}
	}
	defer b.close()
	topic := fmt.Sprintf("quickstart-%d", time.Now().UnixNano())
	hottest, err := b.fill(ctx, topic, messages)
	if err != nil {
		return err
	}
	say("%d comments of %d posts in %d partitions; the hottest post has %d; a handler takes 50 ms\n\n", messages, posts, partitions, hottest)

	say("one ordered consumer a partition, for %v\n", baselineTime)
	base := newCheck(messages)
	m, err := start(b, topic, topic+"-baseline", true, base)
	if err != nil {
		return err
	}
	base.await(ctx, func(s state) bool { return s.age >= baselineTime }, say)
	if err := m.stop(); err != nil {
		return err
	}

	say("\nkeystrand, 100 workers\n")
	c := newCheck(messages)
	if m, err = start(b, topic, topic+"-keystrand", false, c); err != nil {
		return err
	}
	c.await(ctx, func(s state) bool { return s.settled >= messages/2 }, say)
	m.kill()
	committed, err := b.committed(ctx, topic, topic+"-keystrand")
	if err != nil {
		return err
	}
	c.crashed(committed)
	say("\nkilled; %d messages are committed, up to %d will be handled again. Others get its partitions %s\n", c.committed, c.bound, b.freed())
	if m, err = start(b, topic, topic+"-keystrand", false, c); err != nil {
		return err
	}
	c.await(ctx, func(s state) bool { return s.settled >= messages }, say)
	if err := m.stop(); err != nil {
		return err
	}

	t := c.table()
	t.Baseline = base.rate()
	t.Speedup = t.Keystrand / t.Baseline
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(t)
	}
	say(`
one ordered consumer a partition  %8.0f messages/s
keystrand, 100 workers            %8.0f messages/s   %.1f times as many
order violations                  %8d
two of a post at once             %8d
lost                              %8d
handled again after kill -9       %8d   of at most %d
`, t.Baseline, t.Keystrand, t.Speedup, t.Violations, t.Overlaps, t.Lost, t.Replayed, t.Bound)
	return nil
}
