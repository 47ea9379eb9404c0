//go:build unix

package livetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

func TestLiveDeadLettersFromPulsarToKafka(t *testing.T) { sendLetters(t, "pulsar", "kafka") }
func TestLiveDeadLettersFromKafkaToPulsar(t *testing.T) { sendLetters(t, "kafka", "pulsar") }

// sendLetters handles messages of one service, every tenth of which fails for good, and reads the dead letters back from
// the other one: each message ends in exactly one place, and letters of a key are in order.
func sendLetters(t *testing.T, fromService, toService string) {
	t.Helper()
	const messages, partitions = 600, 4
	from, to := connect(t, fromService), connect(t, toService)
	stream, letters := newStream(t, from, "", partitions), newStream(t, to, "", partitions)
	ms := make([]Message, messages)
	for i := range ms {
		key := i % 17
		ms[i] = Message{Place: Place{stream, int32(key % partitions)}, Key: fmt.Sprint("k", key), Number: int64(i)}
	}
	if err := from.produce(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	s, err := to.access(letters, "").sink()
	if err != nil {
		t.Fatal(err)
	}
	var handled atomic.Int64
	runUntil(t, from.access(stream, stream+"-group"), func(b *pipeline.Builder) { b.OnFailure(pipeline.DeadLetter(s)) },
		func(m *keystrand.Message) error {
			if numberOf(m)%10 == 3 {
				return keystrand.Permanent(errOnPurpose)
			}
			handled.Add(1)
			return nil
		}, func(s *pipeline.Snapshot) bool { return s.Settled == messages })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	failed := map[string]int64{} // the number of each message, by where it was
	for _, m := range ms {
		if m.Number%10 == 3 {
			failed[fmt.Sprintf("%s %d@%d", from.access(stream, "").Stream, m.Partition, m.Offset)] = m.Number
		}
	}
	if got := handled.Load(); got != int64(messages-len(failed)) {
		t.Errorf("%d messages were handled, want the %d that do not fail", got, messages-len(failed))
	}
	last := map[string]int64{}
	var left atomic.Int64
	left.Store(int64(len(failed)))
	runUntil(t, to.access(letters, letters+"-group"), func(b *pipeline.Builder) {
		b.Limits(pipeline.Limits{Workers: 1}) // so that the maps need no lock
	}, func(m *keystrand.Message) error {
		at := headerOf(m, pipeline.HeaderStream) + " " + headerOf(m, pipeline.HeaderPartition) + "@" + headerOf(m, pipeline.HeaderOffset)
		number := numberOf(m)
		want, found := failed[at]
		before, seen := last[string(m.Key)]
		attempts, cause := headerOf(m, pipeline.HeaderAttempts), headerOf(m, pipeline.HeaderError)
		switch {
		case !found || number != want:
			t.Errorf("the letter of %s has number %d, want %d (found: %v)", at, number, want, found)
		case attempts != "1" || !strings.Contains(cause, errOnPurpose.Error()):
			t.Errorf("the letter of %s says that it failed after %q attempts because of %q", at, attempts, cause)
		case seen && number < before:
			t.Errorf("key %q: number %d follows number %d", m.Key, number, before)
		}
		delete(failed, at)
		last[string(m.Key)] = number
		left.Store(int64(len(failed)))
		return nil
	}, func(*pipeline.Snapshot) bool { return left.Load() == 0 })
}

// runUntil runs a pipeline in this process until its snapshot is enough.
func runUntil(
	t *testing.T, a access, with func(*pipeline.Builder), handle func(*keystrand.Message) error, enough func(*pipeline.Snapshot) bool,
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	src, err := a.source(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := pipeline.From(src).HandleFunc(func(_ context.Context, m *keystrand.Message) error { return handle(m) })
	with(b)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for s := p.Snapshot(); !enough(&s); s = p.Snapshot() {
		select {
		case err := <-ended:
			t.Fatalf("Run has returned too soon: %v (ctx: %v)", err, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond): // real time: brokers have no bubble
		}
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// checkOutputs reads the outputs of members that have left.
func (r *run) checkOutputs(*Report) {
	r.t.Helper()
	const end = "end" // key of the last message of each partition
	var ends []Message
	for n := range int32(r.partitions) {
		ends = append(ends, Message{Place: Place{r.outputs, n}, Key: end})
	}
	r.must(r.cluster.produce(r.t.Context(), ends))
	written := map[string][]int64{}
	var ended atomic.Int32
	runUntil(r.t, r.cluster.access(r.outputs, "outputs"), func(b *pipeline.Builder) {
		b.Key(keystrand.ByPartition).Limits(pipeline.Limits{Workers: 1}) // so that written needs no lock
	}, func(m *keystrand.Message) error {
		if string(m.Key) == end {
			ended.Add(1)
		} else {
			written[string(m.Key)] = append(written[string(m.Key)], numberOf(m))
		}
		return nil
	}, func(*pipeline.Snapshot) bool { return int(ended.Load()) == r.partitions })
	produced := map[string]int64{}
	for _, m := range r.produced {
		produced[m.Key]++
	}
	for key, n := range produced {
		if err := CheckOutputs(written[key], n); err != nil {
			r.t.Errorf("outputs of key %s: %v: %v", key, err, written[key])
		}
		delete(written, key)
	}
	if len(written) > 0 {
		r.t.Errorf("outputs of keys that nobody produced: %v", written)
	}
}
