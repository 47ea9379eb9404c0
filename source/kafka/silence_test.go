// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// silence is a proxy before the brokers. From a chosen byte on it passes on nothing more, in no connection, as a broker that
// is frozen: connections are accepted and stay open.
type silence struct {
	w *world

	mu     sync.Mutex
	key    protocol.ApiKey // the request that it waits for
	nth    int             // which of them; 0: none
	after  int             // passed bytes of the answer; -1: the request does not arrive
	silent chan struct{}   // closed when it has begun
	since  time.Time
}

func newSilence(w *world, key protocol.ApiKey, nth, after int) *silence {
	return &silence{w: w, key: key, nth: nth, after: after, silent: make(chan struct{})}
}

func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
		close(s.silent)
	}
}

func (s *silence) over() bool {
	select {
	case <-s.silent:
		return true
	default:
		return false
	}
}

// dial connects through the proxy.
func (s *silence) dial(ctx context.Context, network, address string) (net.Conn, error) {
	near, far := net.Pipe()
	if s.over() {
		s.swallow(far)
		return near, nil
	}
	broker, err := s.w.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	keys := make(chan protocol.ApiKey, 100)
	go s.requests(far, broker, keys)
	go s.answers(far, broker, keys)
	return near, nil
}

// swallow reads until the other side closes.
func (s *silence) swallow(far net.Conn) {
	go func() {
		_, _ = io.Copy(io.Discard, far)
		_ = far.Close()
	}()
}

// requests passes on requests, frame by frame.
func (s *silence) requests(far, broker net.Conn, keys chan<- protocol.ApiKey) {
	defer func() { _ = far.Close(); _ = broker.Close(); close(keys) }()
	for {
		frame, err := readFrame(far)
		if err != nil {
			return
		}
		key := protocol.ApiKey(binary.BigEndian.Uint16(frame[4:]))
		s.mu.Lock()
		if key == s.key && s.nth > 0 {
			s.nth--
		}
		mute := key == s.key && s.nth == 0 && s.after < 0
		s.mu.Unlock()
		if mute {
			s.begin()
		}
		if s.over() {
			_, _ = io.Copy(io.Discard, far)
			return
		}
		keys <- key
		if _, err := broker.Write(frame); err != nil {
			return
		}
	}
}

// answers passes on answers, frame by frame.
func (s *silence) answers(far, broker net.Conn, keys <-chan protocol.ApiKey) {
	defer func() { _ = broker.Close() }()
	for {
		frame, err := readFrame(broker)
		if err != nil {
			if !s.over() {
				_ = far.Close()
			}
			return
		}
		key := <-keys
		s.mu.Lock()
		mute := key == s.key && s.nth == 0 && s.after >= 0
		after := min(s.after, len(frame)-1)
		if s.after == 17 {
			after = len(frame) - 1
		}
		s.mu.Unlock()
		if s.over() {
			return
		}
		if mute {
			_, _ = far.Write(frame[:after])
			s.begin()
			return
		}
		if _, err := far.Write(frame); err != nil {
			return
		}
	}
}

func readFrame(c io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	frame := append(head, make([]byte, binary.BigEndian.Uint32(head))...)
	_, err := io.ReadFull(c, frame[4:])
	return frame, err
}

// use is a pipeline: it fetches and commits all messages of the source, and stops in order when ctx ends: within three
// seconds it commits, within one it releases, and it closes the source.
func use(ctx context.Context, s *kafka.Source) (err error) {
	var reading sync.WaitGroup
	for {
		var p source.Partition
		if p, err = s.Accept(ctx); err != nil {
			break
		}
		reading.Go(func() { read(ctx, p) })
	}
	if ctx.Err() != nil {
		err = nil
	}
	reading.Wait()
	return errors.Join(err, s.Close())
}

func read(ctx context.Context, p source.Partition) {
	b := &source.Batch{MaxMessages: 10, MaxBytes: 1000}
	frontier, stored := p.Restored().Frontier, p.Restored().Frontier
	fetching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.Leaving():
			stop()
		case <-fetching.Done():
		}
	}()
	commit := func(ctx context.Context, patience time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if _, err := p.Commit(ctx, progress(p, frontier)); err == nil {
			stored = frontier
		}
	}
	for fetching.Err() == nil {
		b.Messages = b.Messages[:0]
		if p.Fetch(fetching, b) != nil {
			break
		}
		frontier = b.Next
		commit(fetching, 10*time.Second)
	}
	last := context.WithoutCancel(ctx)
	if stored != frontier {
		commit(last, 3*time.Second)
	}
	releasing, cancel := context.WithTimeout(last, time.Second)
	defer cancel()
	_ = p.Release(releasing)
}

// A broker may fall silent at any byte. That is logged within two seconds with the address and the step, and the source
// stops within five seconds of the end of ctx.
func TestSilentBrokerIsLoggedAndDelaysNoStop(t *testing.T) {
	for _, c := range []struct {
		key  protocol.ApiKey
		nths []int // which of the requests
	}{
		{protocol.ApiVersions, []int{1, 2, 3, 4, 5}},
		{protocol.Metadata, []int{1, 2, 3, 4}},
		{protocol.FindCoordinator, []int{1, 2, 3}},
		{protocol.OffsetFetch, []int{1, 2}},
		{protocol.JoinGroup, []int{1}},
		{protocol.SyncGroup, []int{1}},
		{protocol.ListOffsets, []int{1}},
		{protocol.OffsetCommit, []int{1, 2}},
		{protocol.Fetch, []int{1, 2}},
		{protocol.Heartbeat, []int{1, 2}},
	} {
		for _, nth := range c.nths {
			for after := -1; after < 18; after++ { // the last one is the end of the frame
				t.Run(fmt.Sprintf("%v/%d/%d", c.key, nth, after), func(t *testing.T) {
					inWorld(t, 1, func(w *world) { fallSilent(w, newSilence(w, c.key, nth, after)) })
				})
			}
		}
	}
}

func TestSilentBrokerIsLoggedInTheHandshake(t *testing.T) {
	for _, key := range []protocol.ApiKey{protocol.SaslHandshake, protocol.SaslAuthenticate} {
		for nth := 1; nth <= 3; nth++ {
			for _, after := range []int{-1, 0, 1, 4, 8, 17} {
				t.Run(fmt.Sprintf("%v/%d/%d", key, nth, after), func(t *testing.T) {
					inWorld(t, 1, func(w *world) {
						fallSilent(w, newSilence(w, key, nth, after), func(c *kafka.Config) { c.SASL = kafka.Plain("alice", "secret") })
					}, kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"))
				})
			}
		}
	}
	for address, step := range map[string]string{"silent:1": "TLS handshake", "hangs:1": "connect"} {
		t.Run(step, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				cfg := w.config()
				cfg.Dial, cfg.TLS = w.strange, &tls.Config{}
				s, err := kafka.New([]string{address}, "g", []string{"t"}, cfg)
				if err != nil {
					w.t.Fatal(err)
				}
				stop, ended := w.started(s)
				time.Sleep(2 * time.Second)
				if n := w.told.times("waiting for Kafka", "address="+address, step); n != 1 {
					w.t.Errorf("%d lines after 2 s, want 1", n)
				}
				w.stopped(stop, ended)
			})
		})
	}
}

// The broker falls silent in the stop itself.
func TestSilentBrokerDelaysNoLeave(t *testing.T) {
	for _, after := range []int{-1, 0, 4, 8, 1 << 20} {
		for _, key := range []protocol.ApiKey{protocol.FindCoordinator, protocol.LeaveGroup} {
			t.Run(fmt.Sprintf("%v/%d", key, after), func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					mute := newSilence(w, key, 1<<30, after)
					s := w.source("g", func(c *kafka.Config) { c.Dial = mute.dial })
					stop, ended := w.started(s)
					time.Sleep(10 * time.Second)
					mute.mu.Lock()
					mute.nth = 1
					mute.mu.Unlock()
					w.stopped(stop, ended)
				})
			})
		}
	}
}

// fallSilent runs a source until the broker is silent, and stops it.
func fallSilent(w *world, mute *silence, change ...func(*kafka.Config)) {
	w.t.Helper()
	if len(change) == 0 {
		w.produce(0, 3)
	}
	s := w.source("g", append(change, func(c *kafka.Config) { c.Dial, c.Start = mute.dial, kafka.Earliest() })...)
	ctx, stop := context.WithCancel(w.t.Context())
	ended := make(chan time.Time, 1)
	go func() {
		if err := use(ctx, s); err != nil {
			w.t.Errorf("%v", err)
		}
		ended <- time.Now()
	}()
	select {
	case <-mute.silent:
	case <-time.After(time.Minute):
		w.t.Error("the broker did not fall silent")
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if n := w.told.times("waiting for Kafka", "address="+w.brokers[0], "step="); n == 0 {
		w.t.Error("no line after 2 s")
	}
	if mute.after%2 == 0 {
		time.Sleep(7 * time.Second) // the library has given up its request
	}
	w.stopped(stop, ended)
}

// started uses a source until stop is called, and reports a failure. ended receives the time when it has stopped.
func (w *world) started(s *kafka.Source) (stop context.CancelFunc, ended <-chan time.Time) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	over := make(chan time.Time, 1)
	go func() {
		if err := use(ctx, s); err != nil {
			w.t.Error(err)
		}
		over <- time.Now()
	}()
	return stop, over
}

// stopped ends ctx and checks how long the source takes to stop.
func (w *world) stopped(stop context.CancelFunc, ended <-chan time.Time) {
	w.t.Helper()
	began := time.Now()
	stop()
	select {
	case at := <-ended:
		if d := at.Sub(began); d > 5*time.Second {
			w.t.Errorf("it stopped after %v, want at most 5s", d)
		}
	case <-time.After(10 * time.Minute):
		w.t.Fatal("it did not stop")
	}
}
