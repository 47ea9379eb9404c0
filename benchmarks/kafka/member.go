package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

// membership has the arguments of member, which joins a group and prints when each message's handler begins and ends.
type membership struct {
	Brokers   []string
	Topic     string
	Group     string
	Session   time.Duration
	Heartbeat time.Duration
	Finite    bool // stop at the end of the topic

	Workers   int
	InFlight  int
	MaxReplay int
	Handler   time.Duration // how long the handler waits
	Rate      float64       // handlers started a second; 0: no bound
	Begins    bool          // print the start of handlers, too
	Stuck     stuckKeys
}

type stuckKeys int

const (
	stuckNone stuckKeys = iota
	stuckOne            // the handler of the key "stuck" does not return
	stuckHalf           // keys with an even number are parked for an hour
)

func member(ctx context.Context, s membership) error {
	src, err := kafka.New(s.Brokers, s.Group, []string{s.Topic}, kafka.Config{
		SessionTimeout: s.Session, HeartbeatInterval: s.Heartbeat, StopAtEnd: s.Finite,
	})
	if err != nil {
		return err
	}
	var begun atomic.Int64 // when the first handler began
	var turn atomic.Int64
	start := time.Now()
	p, err := pipeline.From(src).
		HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
			switch {
			case s.Stuck == stuckOne && string(m.Key) == "stuck":
				<-ctx.Done()
				return ctx.Err()
			case s.Stuck == stuckHalf && (m.Key[len(m.Key)-1]-'0')%2 == 0:
				return keystrand.RetryAfter(time.Hour, nil)
			}
			if s.Rate > 0 {
				begun.CompareAndSwap(0, int64(time.Since(start)))
				due := time.Duration(begun.Load()) + time.Duration(float64(turn.Add(1))/s.Rate*1e9)
				time.Sleep(due - time.Since(start))
			}
			if s.Begins {
				tell('s', m)
			}
			time.Sleep(s.Handler)
			tell('e', m)
			return nil
		}).
		Limits(pipeline.Limits{Workers: s.Workers, InFlight: s.InFlight, MaxReplay: s.MaxReplay}).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// event is one line of a member.
type event struct {
	kind      byte // s: a handler begins, e: it ends
	partition int32
	offset    int64
	at        time.Time
	written   time.Time // when the message was
}

// tell prints an event in a single write, so that kill -9 cuts off no event of a finished handler.
func tell(kind byte, m *keystrand.Message) {
	line := make([]byte, 0, 96)
	line = append(line, kind, ' ')
	line = strconv.AppendInt(line, int64(m.Partition), 10)
	line = append(line, ' ')
	line = strconv.AppendInt(line, m.Offset, 10)
	line = append(line, ' ')
	line = strconv.AppendInt(line, time.Now().UnixNano(), 10)
	line = append(line, ' ')
	line = strconv.AppendInt(line, m.Time.UnixNano(), 10)
	_, _ = os.Stdout.Write(append(line, '\n'))
}

// listen calls see for each event until the member ends.
func listen(out io.Reader, see func(event)) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 5 {
			continue // cut off by the kill
		}
		partition, _ := strconv.ParseInt(f[1], 10, 32)
		offset, _ := strconv.ParseInt(f[2], 10, 64)
		at, _ := strconv.ParseInt(f[3], 10, 64)
		written, err := strconv.ParseInt(f[4], 10, 64)
		if err == nil {
			see(event{f[0][0], int32(partition), offset, time.Unix(0, at), time.Unix(0, written)})
		}
	}
}
