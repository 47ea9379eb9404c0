package kafka_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// world is a cluster on a network in memory, inside a bubble: time advances only when all goroutines wait.
type world struct {
	t       *testing.T
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	brokers []string
	topic   string
	wait    time.Duration // bounds every wait, so that a test that fails does not hang
	told    *told         // what the sources log
	open    atomic.Int64  // connections of the sources
}

// dial counts connections.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := w.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.open.Add(1)
	return &counted{Conn: c, open: &w.open}, nil
}

type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// inWorld runs f in a bubble with a cluster that has a topic "t" of that many partitions.
func inWorld(t *testing.T, partitions int32, f func(w *world), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: &kfake.VirtualNetwork{}, topic: "t", wait: 10 * time.Minute, told: &told{}}
		opts = append([]kfake.Opt{
			kfake.NumBrokers(1), kfake.SeedTopics(partitions, w.topic), kfake.ListenFn(w.net.Listen), kfake.Ports(9092),
		}, opts...)
		c, err := kfake.NewCluster(opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // the sources are closed by now
			synctest.Wait()
			if n := w.open.Load(); n != 0 {
				t.Errorf("%d connections are open after Close", n)
			}
			c.Close()
			time.Sleep(time.Minute) // idle connections and what waits for them
			synctest.Wait()
		})
		w.cluster, w.brokers = c, c.ListenAddrs()
		f(w)
	})
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.brokers...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}

// produce writes n messages to a partition.
func (w *world) produce(partition int32, n int) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	for i := range n {
		r := &kgo.Record{Topic: w.topic, Partition: partition, Key: []byte{byte(i)}, Value: fmt.Appendf(nil, "%d", i)}
		if err := cl.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// stored returns what is committed for a partition.
func (w *world) stored(group string, partition int32) (offset int64, metadata string) {
	for n, c := range w.cluster.GroupInfo(group).Commits[w.topic] {
		if n == partition {
			return c.Offset, c.Metadata
		}
	}
	return -1, ""
}

func (w *world) config() kafka.Config {
	out := io.MultiWriter(testLog{w.t}, w.told)
	return kafka.Config{Dial: w.dial, Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
}

// inWorldWith is inWorld with one partition and options of the cluster.
func inWorldWith(t *testing.T, opts []kfake.Opt, f func(w *world)) {
	t.Helper()
	inWorld(t, 1, f, opts...)
}

// testLog writes to the log of the test, until the test ends.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", b[:len(b)-1])
	}
	return len(b), nil
}

// told keeps the lines of a log.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

// times returns how many lines have all the parts in them.
func (l *told) times(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

func (w *world) source(group string, change ...func(*kafka.Config)) *kafka.Source {
	w.t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	s, err := kafka.New(w.brokers, group, []string{w.topic}, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() }) // of a test that failed; else it is closed already
	return s
}

// accept returns the next n partitions, by number.
func (w *world) accept(s *kafka.Source, n int) map[int32]source.Partition {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), w.wait)
	defer cancel()
	ps := make(map[int32]source.Partition, n)
	for range n {
		p, err := s.Accept(ctx)
		if err != nil {
			w.t.Fatalf("Accept after %d partitions: %v", len(ps), err)
		}
		ps[p.ID().Partition] = p
	}
	return ps
}

// fetch reads at least n messages and returns their offsets.
func (w *world) fetch(p source.Partition, n int) []int64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), w.wait)
	defer cancel()
	var offsets []int64
	b := &source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
	for len(offsets) < n {
		b.Messages = b.Messages[:0]
		if err := p.Fetch(ctx, b); err != nil {
			w.t.Fatalf("%v: Fetch after %d messages: %v", p.ID(), len(offsets), err)
		}
		for _, m := range b.Messages {
			offsets = append(offsets, m.Offset)
		}
	}
	return offsets
}

func (w *world) commit(p source.Partition, frontier int64, ahead ...commit.Range) commit.Stored {
	w.t.Helper()
	stored, err := p.Commit(w.t.Context(), progress(p, frontier, ahead...))
	if err != nil {
		w.t.Fatal(err)
	}
	return stored
}

func progress(p source.Partition, frontier int64, ahead ...commit.Range) *commit.Progress {
	r := p.Restored()
	return &commit.Progress{Log: r.Log, Epoch: r.Epoch, Frontier: frontier, Ahead: ahead}
}

func (w *world) release(ps ...source.Partition) {
	w.t.Helper()
	for _, p := range ps {
		if err := p.Release(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
}

// follow releases every partition as soon as it is revoked or lost, and returns when all are released.
func (w *world) follow(ps map[int32]source.Partition) {
	w.t.Helper()
	for _, p := range ps {
		<-p.Leaving()
		w.release(p)
	}
}

func (w *world) close(s *kafka.Source, ps map[int32]source.Partition) {
	w.t.Helper()
	for _, p := range ps {
		w.release(p)
	}
	if err := s.Close(); err != nil {
		w.t.Error(err)
	}
}

// acceptErr returns the error of Accept.
func (w *world) acceptErr(s *kafka.Source) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	p, err := s.Accept(ctx)
	if err == nil {
		w.t.Fatalf("Accept returned %v", p.ID())
	}
	if ctx.Err() != nil {
		w.t.Fatalf("Accept has not returned in an hour: %+v", s.Report())
	}
	return err
}
