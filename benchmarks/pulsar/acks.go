package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
)

type acksRow struct {
	Part     string  `json:"part"`
	Settled  string  `json:"settled"`
	Entries  string  `json:"entries"`
	Held     float64 `json:"answers_held_ms"` // how long a proxy delays the broker's answers
	Messages int     `json:"messages"`
	Window   int     `json:"window"`
	Rate     float64 `json:"per_s"`    // messages settled
	Ratio    float64 `json:"ratio"`    // to the rate in order
	CPU      float64 `json:"cpu_us"`   // per message, of the whole process
	Pause    float64 `json:"pause_ms"` // longest time without a settled message
	Acked    float64 `json:"acked_ms"` // from the last message settled to the last acknowledgement
	Commits  int     `json:"commits"`
	Requests int     `json:"requests"` // to the broker, counted by a proxy
	Bytes    float64 `json:"bytes_a_message"`
	Answers  float64 `json:"answer_bytes_a_message"`
	Ranges   int     `json:"most_ranges"` // the most ranges ahead of the frontier in one commit
	Goal     string  `json:"goal"`
}

// acks settles messages in random order within a window, and measures the cost of their acknowledgements. A proxy that
// delays the broker's answers shows that no worker waits for them: the rate stays the same. A log in memory shows the cost
// of the order without acknowledgements.
func acks(ctx context.Context, r *run) error {
	t := bench.NewTable("acknowledgements, one partition, a commit every 100 ms", r.json)
	n, window := pick(r, 100_000, 10_000), pick(r, 10_000, 1_000)
	const hold = 500 * time.Millisecond
	for _, entries := range []struct {
		name     string
		batching *pulsarbench.Batching
	}{
		{"none: in memory", nil},
		{"one message each", &pulsarbench.Batching{Off: true}},
		{"batches of 100", &pulsarbench.Batching{Messages: 100}},
	} {
		topic := ""
		if entries.batching != nil {
			var err error
			topic, err = r.pulsar.Fill(ctx, 1, n, *entries.batching, func(i int) (int, []byte, []byte) { return 0, keyOf(i), valueOf(i) })
			if err != nil {
				return err
			}
		}
		type order struct {
			name   string
			random bool
			hold   time.Duration
		}
		orders := []order{{"in order", false, 0}, {"in random order", true, 0}}
		if topic != "" {
			orders = append(orders, order{"in random order", true, hold})
		}
		all, err := bench.Alternate(pick(r, 3, 1), len(orders), nil, func(round, i int) (settleResult, error) {
			return r.settled(ctx, settling{
				Topic: topic, Subscription: fmt.Sprintf("s-%d-%d", round, i),
				Messages: n, Window: window, Random: orders[i].random,
			}, orders[i].hold)
		})
		if err != nil {
			return err
		}
		for i, order := range orders {
			median := func(figure func(res, ordered settleResult) float64) float64 { return all.Median(i, figure) }
			row := acksRow{
				Part: "acks", Settled: order.name, Entries: entries.name, Held: ms(order.hold), Messages: n, Window: window,
				Rate:     median(func(res, _ settleResult) float64 { return float64(n) / res.Seconds }),
				Ratio:    median(func(res, ordered settleResult) float64 { return ordered.Seconds / res.Seconds }),
				CPU:      median(func(res, _ settleResult) float64 { return res.CPU * 1e6 / float64(n) }),
				Pause:    median(func(res, _ settleResult) float64 { return res.Pause }),
				Acked:    median(func(res, _ settleResult) float64 { return res.Acked }),
				Commits:  int(median(func(res, _ settleResult) float64 { return float64(res.Commits) })),
				Requests: int(median(func(res, _ settleResult) float64 { return float64(res.requests) })),
				Bytes:    median(func(res, _ settleResult) float64 { return float64(res.bytes) / float64(n) }),
				Answers:  median(func(res, _ settleResult) float64 { return float64(res.answers) / float64(n) }),
				Ranges:   int(median(func(res, _ settleResult) float64 { return float64(res.Ranges) })),
			}
			if i > 0 && topic != "" {
				row.Goal = "ratio >= 0.80"
			}
			t.Row(row)
		}
	}
	return nil
}

// settled runs settle behind a proxy, and then checks that the broker has all acknowledgements.
func (r *run) settled(ctx context.Context, s settling, hold time.Duration) (settleResult, error) {
	if s.Topic == "" {
		return bench.Run[settleResult](ctx, "settle", s)
	}
	proxy, err := pulsarbench.NewProxy(r.pulsar.URL, hold)
	if err != nil {
		return settleResult{}, err
	}
	defer proxy.Close()
	s.URL = proxy.URL()
	res, err := bench.Run[settleResult](ctx, "settle", s)
	if err != nil {
		return res, err
	}
	res.requests, res.bytes, res.answers = proxy.Acks.Load(), proxy.AckBytes.Load(), proxy.AnswerBytes.Load()
	c, err := r.pulsar.Cursor(ctx, s.Topic, 0, s.Subscription)
	if err == nil && (c.Backlog != 0 || c.Read != c.Last) {
		err = fmt.Errorf("subscription %s of %s: all messages settled, but %d entries not acknowledged", s.Subscription, s.Topic, c.Backlog)
	}
	return res, err
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
