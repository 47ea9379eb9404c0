//go:build unix

package livetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	stream, letters := newStream(t, from, partitions), newStream(t, to, partitions)
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
	fails := func(number int64) bool { return number%10 == 3 }
	handled := read(t, from.access(stream, stream[strings.LastIndex(stream, "/")+1:]), func(b *pipeline.Builder) {
		b.OnFailure(pipeline.DeadLetter(s))
	}, func(m *keystrand.Message) error {
		if fails(numberOf(m)) {
			return keystrand.Permanent(errOnPurpose)
		}
		return nil
	}, func(s *pipeline.Snapshot, _ []keystrand.Message) bool { return s.Settled == messages })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	failed := map[string]int64{} // the number of each message, by where it was
	for _, m := range ms {
		if fails(m.Number) {
			failed[fmt.Sprintf("%s %d@%d", stream, m.Partition, m.Offset)] = m.Number
		}
	}
	if len(handled) != messages-len(failed) {
		t.Errorf("%d messages were handled, want the %d that do not fail", len(handled), messages-len(failed))
	}
	last := map[string]int64{}
	enough := func(_ *pipeline.Snapshot, ms []keystrand.Message) bool { return len(ms) >= len(failed) }
	for _, m := range read(t, to.access(letters, "letters"), func(*pipeline.Builder) {}, handleNothing, enough) {
		header := func(name string) string {
			v, _ := m.Header(name)
			return string(v)
		}
		at := fmt.Sprintf("%s %s@%s", header(pipeline.HeaderStream), header(pipeline.HeaderPartition), header(pipeline.HeaderOffset))
		want, found := failed[at]
		number, key := numberOf(&m), string(m.Key)
		before, seen := last[key]
		attempts, cause := header(pipeline.HeaderAttempts), header(pipeline.HeaderError)
		switch {
		case !found || number != want:
			t.Errorf("the letter of %s has number %d, want %d (found: %v)", at, number, want, found)
		case attempts != "1" || !strings.Contains(cause, errOnPurpose.Error()):
			t.Errorf("the letter of %s says that it failed after %q attempts because of %q", at, attempts, cause)
		case seen && number < before:
			t.Errorf("key %q: number %d follows number %d", key, number, before)
		}
		delete(failed, at)
		last[key] = number
	}
	if len(failed) > 0 {
		t.Errorf("no letters of %v", failed)
	}
}

func handleNothing(*keystrand.Message) error { return nil }

// read runs a pipeline in this process until it has read enough. It returns the messages that it has handled.
func read(
	t *testing.T, a access, with func(*pipeline.Builder), handle func(*keystrand.Message) error,
	enough func(*pipeline.Snapshot, []keystrand.Message) bool,
) (handled []keystrand.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	src, err := a.source(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards handled
	b := pipeline.From(src).Key(keystrand.ByPartition).HandleFunc(func(_ context.Context, m *keystrand.Message) error {
		err := handle(m)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			handled = append(handled, *m)
		}
		return err
	})
	with(b)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for done := false; !done; {
		select {
		case err := <-ended:
			t.Fatalf("Run has returned too soon: %v (ctx: %v)", err, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond): // real time: brokers have no bubble
		}
		s := p.Snapshot()
		mu.Lock()
		done = enough(&s, handled)
		mu.Unlock()
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	return handled
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
	outputs := map[string][]int64{}
	for _, m := range read(r.t, r.cluster.access(r.outputs, "outputs"), func(*pipeline.Builder) {}, handleNothing,
		func(_ *pipeline.Snapshot, ms []keystrand.Message) bool {
			ended := 0
			for _, m := range ms {
				if string(m.Key) == end {
					ended++
				}
			}
			return ended == r.partitions
		}) {
		outputs[string(m.Key)] = append(outputs[string(m.Key)], numberOf(&m))
	}
	produced := map[string]int64{end: 1}
	for _, m := range r.produced {
		produced[m.Key]++
	}
	for key, n := range produced {
		if key != end {
			if err := CheckOutputs(outputs[key], n); err != nil {
				r.t.Errorf("outputs of key %s: %v: %v", key, err, outputs[key])
			}
		}
		delete(outputs, key)
	}
	if len(outputs) > 0 {
		r.t.Errorf("outputs of keys that nobody produced: %v", outputs)
	}
}
