package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Close is a row about the Close of a sink.
type Close struct {
	Part    string  `json:"part"`
	Sinks   int     `json:"sinks"`
	Writers int     `json:"writers"`
	Stop    float64 `json:"idle_close_ms"` // of the writers and the sink: median
	Stopped float64 `json:"idle_close_most_ms"`
	Goal    string  `json:"goal"`
}

// Closes opens a sink n times, writes messages of many keys by each of its writers, and closes it when it is idle.
func Closes(ctx context.Context, n int, open func() (sink.Sink, error)) (Close, error) {
	row := Close{Part: "close", Sinks: n, Writers: 4, Goal: "idle_close_ms <= 100"}
	var stops []float64
	for range n {
		stopped, err := closed(ctx, row.Writers, open)
		if err != nil {
			return row, err
		}
		stops, row.Stopped = append(stops, ms(stopped)), max(row.Stopped, ms(stopped))
	}
	row.Stop = Median(stops)
	return row, nil
}

func closed(ctx context.Context, writers int, open func() (sink.Sink, error)) (time.Duration, error) {
	s, err := open()
	if err != nil {
		return 0, err
	}
	var ms []keystrand.Message
	for i := range 100 {
		ms = append(ms, keystrand.Message{Key: fmt.Append(nil, "key-", i), Value: []byte("x")})
	}
	var opened []sink.Writer
	for range writers {
		w, err := s.Open()
		if err == nil {
			err = w.Write(ctx, ms)
		}
		if err != nil {
			return 0, err
		}
		opened = append(opened, w)
	}
	time.Sleep(500 * time.Millisecond) // nothing is under way
	began := time.Now()
	var errs []error
	for _, w := range opened {
		errs = append(errs, w.Close())
	}
	errs = append(errs, s.Close())
	return time.Since(began), errors.Join(errs...)
}
