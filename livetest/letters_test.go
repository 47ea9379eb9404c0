//go:build unix

package livetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkkafka "github.com/keystrand/keystrand/sink/kafka"
	sinkpulsar "github.com/keystrand/keystrand/sink/pulsar"
	"github.com/keystrand/keystrand/source"
)

// Sinks and sources mix: what a pipeline on one service gives up goes to another one.

func TestLiveDeadLettersFromPulsarToKafka(t *testing.T) {
	from, to := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar"), newKafka(t, "KEYSTRAND_KAFKA", "kafka")
	sendLetters(t, from, to, func(topic string) (sink.Sink, error) {
		return sinkkafka.New(to.brokers, topic, sinkkafka.Config{})
	})
}

func TestLiveDeadLettersFromKafkaToPulsar(t *testing.T) {
	from, to := newKafka(t, "KEYSTRAND_KAFKA", "kafka"), newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	sendLetters(t, from, to, func(topic string) (sink.Sink, error) {
		return sinkpulsar.New(to.url, topic, sinkpulsar.Config{LastHeaderWins: true})
	})
}

// sendLetters handles messages of one service, every tenth of which fails for good, and reads the dead letters back from
// the other one: each message ends in exactly one place, and letters of a key are in order.
func sendLetters(t *testing.T, from, to Cluster, open func(topic string) (sink.Sink, error)) {
	t.Helper()
	const messages, partitions = 600, 4
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	stream, letters := newStream(ctx, t, from, partitions), newStream(ctx, t, to, partitions)
	want := fillSkewed(ctx, t, from, stream, messages, partitions)

	s, err := open(letters)
	if err != nil {
		t.Fatal(err)
	}
	var handled atomic.Int64
	runUntil(ctx, t, sourceOf(t, from, stream, stream+"-group"), func(b *pipeline.Builder) {
		b.OnFailure(pipeline.DeadLetter(s))
	}, func(m *keystrand.Message) error {
		if numberOf(m)%10 == 3 {
			return keystrand.Permanent(errOnPurpose)
		}
		handled.Add(1)
		return nil
	}, func(s *pipeline.Snapshot) bool { return s.Settled == messages })
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	failing := map[string]bool{}
	for at, number := range want {
		if number%10 == 3 {
			failing[at] = true
		}
	}
	if got := handled.Load(); got != int64(messages-len(failing)) {
		t.Errorf("%d messages were handled, want the %d that do not fail", got, messages-len(failing))
	}
	last := map[string]int64{}
	var read atomic.Int64
	runUntil(ctx, t, sourceOf(t, to, letters, letters+"-group"), func(b *pipeline.Builder) {
		b.Limits(pipeline.Limits{Workers: 1}) // so last needs no lock
	}, func(m *keystrand.Message) error {
		read.Add(1)
		at := headerOf(m, pipeline.HeaderPartition) + "@" + headerOf(m, pipeline.HeaderOffset)
		number := numberOf(m)
		before, seen := last[string(m.Key)]
		switch {
		case !failing[at]:
			t.Errorf("a letter of %s, which did not fail, or a second one of it", at)
		case headerOf(m, pipeline.HeaderStream) != stream || headerOf(m, pipeline.HeaderAttempts) != "1" || !strings.Contains(headerOf(m, pipeline.HeaderError), errOnPurpose.Error()):
			t.Errorf("the letter of %s says that it comes from %q after %q attempts because of %q", at,
				headerOf(m, pipeline.HeaderStream), headerOf(m, pipeline.HeaderAttempts), headerOf(m, pipeline.HeaderError))
		case want[at] != number:
			t.Errorf("the letter of %s has the value of number %d, want %d", at, number, want[at])
		case seen && number < before:
			t.Errorf("key %q: number %d stands behind number %d", m.Key, number, before)
		}
		delete(failing, at)
		last[string(m.Key)] = number
		return nil
	}, func(*pipeline.Snapshot) bool { return read.Load() >= int64(messages/10) && len(failing) == 0 })
}

func newStream(ctx context.Context, t *testing.T, c Cluster, partitions int) string {
	t.Helper()
	stream, err := c.NewStream(ctx, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// fillSkewed writes numbered messages and returns the number of each by partition@offset.
func fillSkewed(ctx context.Context, t *testing.T, c Cluster, stream string, messages, partitions int) map[string]int64 {
	t.Helper()
	ms := make([]Message, messages)
	for i := range ms {
		key := i % 17
		ms[i] = Message{Place: Place{stream, int32(key % partitions)}, Key: fmt.Sprint("k", key), Number: int64(i)}
	}
	if err := c.Produce(ctx, ms); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int64{}
	for _, m := range ms {
		numbers[fmt.Sprintf("%d@%d", m.Partition, m.Offset)] = m.Number
	}
	return numbers
}

func sourceOf(t *testing.T, c Cluster, stream, group string) source.Source {
	t.Helper()
	name, args := c.Source(stream, group)
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	src, err := sources[name](raw, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// runUntil runs a pipeline in this process until what it says of itself is enough.
func runUntil(ctx context.Context, t *testing.T, src source.Source, with func(*pipeline.Builder), handle func(*keystrand.Message) error, enough func(*pipeline.Snapshot) bool) {
	t.Helper()
	b := pipeline.From(src).HandleFunc(func(_ context.Context, m *keystrand.Message) error { return handle(m) })
	with(b)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s := p.Snapshot()
		if enough(&s) {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("Run has returned too soon: %v (ctx: %v)", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func headerOf(m *keystrand.Message, name string) string {
	v, _ := m.Header(name)
	return string(v)
}

func numberOf(m *keystrand.Message) int64 {
	n, err := strconv.ParseInt(strings.TrimRight(string(m.Value), " "), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
