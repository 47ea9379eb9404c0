//go:build unix

package livetest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

func TestLiveDeadLettersFromPulsarToKafka(t *testing.T) { sendLetters(t, "pulsar", "kafka") }
func TestLiveDeadLettersFromKafkaToPulsar(t *testing.T) { sendLetters(t, "kafka", "pulsar") }

// sendLetters lets every tenth message fail for good. Its letter goes to another service.
func sendLetters(t *testing.T, from, to string) {
	t.Helper()
	play(t, from, scenario{
		messages: 600, partitions: 4, keys: 17, orderly: true, letters: to,
		behaviour: behaviour{DeadLetter: true, HopelessOne: 10}, steps: at(0, join("a")), ends: (*run).checkLetters,
	})
}

// checkLetters reads the letters back: one of each message that fails, those of a key in order.
func (r *run) checkLetters(*Report) {
	r.t.Helper()
	failed := map[string]Message{}
	for _, m := range r.produced {
		if b := r.behaviour; b.hopeless(b.dice(r.seed, m.Partition, m.Offset)) {
			failed[fmt.Sprintf("%s %d@%d", m.Stream, m.Partition, m.Offset)] = m
		}
	}
	if len(failed) == 0 {
		r.t.Error("no message fails, so this shows nothing")
	}
	last := map[string]int64{}
	for _, m := range r.readBack() {
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
		case !found || number != want.Number || key != want.Key:
			r.t.Errorf("the letter of %s is of key %s number %d, want %+v (found: %v)", at, key, number, want, found)
		case attempts != "1" || !strings.Contains(cause, errOnPurpose.Error()):
			r.t.Errorf("the letter of %s says that it failed after %q attempts because of %q", at, attempts, cause)
		case seen && number < before:
			r.t.Errorf("key %q: number %d follows number %d", key, number, before)
		}
		delete(failed, at)
		last[key] = number
	}
	if len(failed) > 0 {
		r.t.Errorf("no letters of %v", failed)
	}
}

// readBack appends an end to each partition of the outputs, and returns the messages before it.
func (r *run) readBack() (ms []keystrand.Message) {
	r.t.Helper()
	const end = "end"
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: hang guard
	defer cancel()
	var ends []Message
	for n := range int32(r.partitions) {
		ends = append(ends, Message{Place: Place{r.outputs, n}, Key: end})
	}
	r.must(r.target.produce(ctx, ends))
	src, err := r.target.access(r.outputs, "reader").source(slog.New(slog.DiscardHandler))
	r.must(err)
	defer func() { _ = src.Close() }()
	for range ends {
		p, err := src.Accept(ctx)
		r.must(err)
		defer func() { _ = p.Release(ctx) }()
		for ended := false; !ended; {
			b := source.Batch{MaxMessages: 1_000, MaxBytes: 1 << 20}
			r.must(p.Fetch(ctx, &b))
			for _, m := range b.Messages {
				if ended = ended || string(m.Key) == end; !ended {
					ms = append(ms, m)
				}
			}
		}
	}
	return ms
}

// checkOutputs reads the outputs of members that have left.
func (r *run) checkOutputs(*Report) {
	r.t.Helper()
	outputs, produced := map[string][]int64{}, map[string]int64{}
	for _, m := range r.readBack() {
		outputs[string(m.Key)] = append(outputs[string(m.Key)], numberOf(&m))
	}
	for _, m := range r.produced {
		produced[m.Key]++
	}
	for key, n := range produced {
		if err := CheckOutputs(outputs[key], n); err != nil {
			r.t.Errorf("outputs of key %s: %v: %v", key, err, outputs[key])
		}
		delete(outputs, key)
	}
	if len(outputs) > 0 {
		r.t.Errorf("outputs of keys that nobody produced: %v", outputs)
	}
}
