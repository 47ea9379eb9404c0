package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
)

type crashRow struct {
	Part      string `json:"part"`
	Entries   string `json:"entries"`
	Between   string `json:"between"` // what happens between kill and restart
	Messages  int    `json:"messages"`
	Unsettled int    `json:"gaps"`     // unsettled messages at the kill, each between settled ones
	Told      int    `json:"told"`     // settled messages that a crash would replay, from the snapshot
	Replayed  int    `json:"replayed"` // settled messages handled again
	Lost      int    `json:"lost"`
	Goal      string `json:"goal"`
}

// broken returns an error if the row breaks a promise that holds on any machine.
func (row crashRow) broken() error {
	switch {
	case row.Lost > 0:
		return fmt.Errorf("%s, %s between: %d messages lost: acknowledged but not handled", row.Entries, row.Between, row.Lost)
	case row.Replayed > row.Told:
		return fmt.Errorf("%s, %s between: %d settled messages handled again, the snapshot had %d", row.Entries, row.Between, row.Replayed, row.Told)
	}
	return nil
}

// crash kills a process (kill -9) that has settled and committed five of every six messages, starts another, and counts
// the messages handled again. A row with a lost message, or with more repeats than the snapshot had, ends the command with
// an error.
func crash(ctx context.Context, r *run) error {
	t := bench.NewTable("kill -9 with gaps ahead of the frontier, one partition", r.json)
	n := pick(r, 30_000, 6_000)
	const every, block = 6, 10 // blocks of the topic, alternating
	for _, c := range []struct {
		entries  string
		batches  int // messages; 0: none
		unloaded bool
	}{
		{"one message each", 0, false},
		{"one message each", 0, true},
		{"half in batches of 10", 10, false},
	} {
		topic, err := r.pulsar.Make(ctx, 1)
		if err != nil {
			return err
		}
		for i := range block {
			b := pulsarbench.Batching{Off: true}
			if i%2 == 1 && c.batches > 0 {
				b = pulsarbench.Batching{Messages: c.batches}
			}
			if err := r.pulsar.Write(ctx, topic, 1, i*n/block, (i+1)*n/block, b, func(i int) (int, []byte, []byte) {
				return 0, fmt.Appendf(nil, "key-%d", i), strconv.AppendInt(nil, int64(i), 10)
			}); err != nil {
				return err
			}
		}
		row := crashRow{
			Part: "crash", Entries: c.entries, Between: "nothing", Messages: n, Unsettled: (n + every - 1) / every,
			Goal: "replayed <= told",
		}
		m := membership{URL: r.pulsar.URL, Topic: topic, Subscription: "s", Every: every, Messages: n}
		done, told, err := killed(ctx, m)
		if err != nil {
			return err
		}
		row.Told = told
		if c.unloaded {
			row.Between = "topic unloaded"
			if err := r.pulsar.Unload(ctx, topic, 0); err != nil {
				return err
			}
		}
		m.Every = 0
		if row.Replayed, row.Lost, err = r.rest(ctx, m, done); err != nil {
			return err
		}
		if c.batches > 0 {
			row.Goal += ", which is all above the first batch settled in part"
		}
		t.Row(row)
		if err := row.broken(); err != nil {
			return err
		}
	}
	return nil
}

// killed runs a member until all messages that it can settle are settled and committed, and kills it.
func killed(ctx context.Context, m membership) (done []bool, told int, err error) {
	p, err := bench.Start(ctx, "member", m)
	if err != nil {
		return nil, 0, err
	}
	done, told = make([]bool, m.Messages), -1
	listen(p, func(kind byte, n int) {
		if kind == 'e' {
			done[n] = true
		} else if told < 0 {
			told = n
			p.Kill()
		}
	})
	_ = p.Wait() // it was killed: an error is expected
	if told < 0 {
		return nil, 0, fmt.Errorf("member ended before all messages were settled")
	}
	return done, told, nil
}

// rest runs a member until the broker has all acknowledgements.
func (r *run) rest(ctx context.Context, m membership, done []bool) (replayed, lost int, err error) {
	p, err := bench.Start(ctx, "member", m)
	if err != nil {
		return 0, 0, err
	}
	asked := make(chan error, 1)
	go func() {
		defer p.Ask()
		for {
			c, err := r.pulsar.Cursor(ctx, m.Topic, 0, m.Subscription)
			if err != nil || c.Backlog == 0 {
				asked <- err
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	again := make([]bool, m.Messages)
	listen(p, func(kind byte, n int) {
		if kind == 'e' {
			if done[n] && !again[n] {
				replayed++
			}
			again[n] = true
		}
	})
	if err := p.Wait(); err != nil {
		return 0, 0, err
	}
	for i := range done {
		if !done[i] && !again[i] {
			lost++
		}
	}
	return replayed, lost, <-asked
}

// listen calls see for each line of a member until it ends.
func listen(p *bench.Process, see func(kind byte, n int)) {
	for lines := bufio.NewScanner(p.Out); lines.Scan(); {
		kind, number, ok := strings.Cut(lines.Text(), " ")
		if n, err := strconv.Atoi(number); ok && err == nil {
			see(kind[0], n)
		}
	}
}
