// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka"
)

// hangs is a mechanism that waits for something in a call, as one that fetches a token does.
type hangs struct {
	sasl.Mechanism

	start bool                        // else in Next
	wait  func(context.Context) error // nil: it goes on
}

func (h hangs) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	if h.start {
		if err := h.wait(ctx); err != nil {
			return nil, nil, err
		}
	}
	_, first, err := h.Mechanism.Start(ctx)
	return h, first, err
}

func (h hangs) Next(ctx context.Context, _ []byte) (bool, []byte, error) {
	if !h.start {
		return true, nil, h.wait(ctx)
	}
	return true, nil, nil
}

// A mechanism that waits is logged within two seconds, and delays no stop, although it ignores its ctx.
func TestMechanismThatHangsIsLoggedAndDelaysNoStop(t *testing.T) {
	for name, start := range map[string]bool{"start": true, "next": false} {
		for _, ignores := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					over := make(chan struct{})
					defer close(over)
					s := w.source("g", func(c *kafka.Config) {
						c.SASL = hangs{kafka.Plain("alice", "secret"), start, func(ctx context.Context) error {
							if ignores {
								<-over
								return io.EOF
							}
							<-ctx.Done()
							return ctx.Err()
						}}
					})
					w.hangs(s, "address="+w.brokers[0], "SASL credentials")
				}, kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"))
			})
		}
	}
}

// Config.Dial may hang and ignore its ctx at any time, also while the source asks why a connection has failed.
func TestDialThatHangsDelaysNoStop(t *testing.T) {
	for good := range int64(4) {
		inWorld(t, 1, func(w *world) {
			over := make(chan struct{})
			defer close(over)
			var dials atomic.Int64
			s := w.source("g", func(c *kafka.Config) {
				c.Dial = func(context.Context, string, string) (net.Conn, error) {
					if dials.Add(1) > good {
						<-over
						return nil, io.EOF
					}
					near, far := net.Pipe()
					go func() { _, _ = far.Read(make([]byte, 4)); _ = far.Close() }()
					return near, nil
				}
			})
			w.hangs(s, "address="+w.brokers[0], "step=connect")
		})
	}
}

// hangs runs a source that waits, wants a line within two seconds, and stops it.
func (w *world) hangs(s *kafka.Source, line ...string) {
	w.t.Helper()
	stop, ended := w.started(s)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if n := w.told.times(append(line, "waiting for Kafka")...); n != 1 {
		w.t.Errorf("%d lines after 2 s, want 1", n)
	}
	time.Sleep(time.Second)
	w.stopped(stop, ended)
}

// The errors of several brokers are one line a minute, however the brokers take turns to fail.
func TestUnreachableBrokersAreOneLineAMinute(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var dials atomic.Int64
		cfg := w.config()
		cfg.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
			time.Sleep(time.Duration(dials.Add(1)%3) * 700 * time.Millisecond)
			return nil, errors.New("no route to " + address)
		}
		s, err := kafka.New([]string{"a:1", "b:1", "c:1", "d:1"}, "g", []string{"t"}, cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		stop, ended := w.started(s)
		time.Sleep(5*time.Minute + 10*time.Second)
		if n := w.told.times("operation failed; retrying", "what=connect"); n < 5 || n > 7 {
			w.t.Errorf("%d lines in five minutes", n)
		}
		w.stopped(stop, ended)
	})
}

// All brokers go down while the source runs. Each operation that fails is one line a minute for each broker that it asks.
func TestBrokersThatGoDownAreOneLineAMinuteEach(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var down atomic.Bool
		s := w.source("g", func(c *kafka.Config) {
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if down.Load() {
					return nil, errors.New("no route to " + address)
				}
				return w.dial(ctx, network, address)
			}
		})
		stop, ended := w.started(s)
		time.Sleep(10 * time.Second)
		down.Store(true)
		for _, key := range []int16{0, 1, 2, 3, 8, 9, 10, 11, 12, 14, 18} {
			w.cluster.ControlKey(key, func(kmsg.Request) (kmsg.Response, error, bool) {
				if !down.Load() {
					return nil, nil, false
				}
				w.cluster.KeepControl()
				return nil, errors.New("disconnect"), true
			})
		}
		time.Sleep(10 * time.Minute)
		for _, what := range []string{"what=heartbeat", "what=join", "what=topics", "what=commit", "what=\"watch topics\"", "msg=\"kafka: fetch failed"} {
			if n := w.told.times("level=WARN", what); n > 33 {
				w.t.Errorf("%s: %d lines in ten minutes", what, n)
			}
		}
		down.Store(false)
		w.stopped(stop, ended)
	}, kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094))
}
