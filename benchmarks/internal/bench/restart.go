package bench

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

// Restart is the row of the part restart.
type Restart struct {
	Part     string  `json:"part"`
	Keys     string  `json:"keys"`
	Restarts int     `json:"restarts"`
	First    float64 `json:"first_message_ms"`      // from the start of the pipeline to its first handler: median
	Longest  float64 `json:"first_message_most_ms"` // the longest
	Stop     float64 `json:"idle_stop_ms"`          // from the end of ctx to the return of Run, nothing in flight: median
	Stopped  float64 `json:"idle_stop_most_ms"`
	Goal     string  `json:"goal"`
}

// Restarts starts the only member of a group n times, each time after an orderly stop. feed writes a message to each partition
// before each start. A member handles these, and stops when it is idle.
func Restarts(ctx context.Context, n, partitions int, feed func() error, open func() (source.Source, error)) (Restart, error) {
	row := Restart{
		Part: "restart", Keys: "one message of each partition", Restarts: n, Goal: "first_message_ms <= 1000, idle_stop_ms <= 100",
	}
	var firsts, stops []float64
	for range n {
		if err := feed(); err != nil {
			return row, err
		}
		first, stopped, err := restarted(ctx, partitions, open)
		if err != nil {
			return row, err
		}
		firsts, stops = append(firsts, ms(first)), append(stops, ms(stopped))
		row.Longest, row.Stopped = max(row.Longest, ms(first)), max(row.Stopped, ms(stopped))
	}
	row.First, row.Stop = Median(firsts), Median(stops)
	return row, nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// restarted runs a member until it has handled so many messages. It returns the times until its first handler, and from the end
// of its ctx until it has stopped.
func restarted(ctx context.Context, messages int, open func() (source.Source, error)) (first, stopped time.Duration, err error) {
	running, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	src, err := open()
	if err != nil {
		return 0, 0, err
	}
	var at, handled atomic.Int64
	idle := make(chan struct{})
	p, err := pipeline.From(src).HandleFunc(func(context.Context, *keystrand.Message) error {
		at.CompareAndSwap(0, int64(time.Since(began)))
		if handled.Add(1) == int64(messages) {
			close(idle)
		}
		return nil
	}).Build()
	if err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	select {
	case <-idle:
	case err := <-ended:
		return 0, 0, fmt.Errorf("the member ended after %d messages: %w", handled.Load(), cmp.Or(err, context.Cause(running)))
	}
	time.Sleep(1500 * time.Millisecond) // more than a commit interval
	asked := time.Now()
	cancel()
	err = <-ended
	return time.Duration(at.Load()), time.Since(asked), err
}
