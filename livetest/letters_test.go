//go:build unix

package livetest

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

func TestLiveDeadLettersFromPulsarToKafka(t *testing.T) { gate(t, "pulsar>kafka") }
func TestLiveDeadLettersFromKafkaToPulsar(t *testing.T) { gate(t, "kafka>pulsar") }

// checkLetters reads the letters back: one of each message that fails, those of a key in order.
func (r *run) checkLetters() {
	r.t.Helper()
	want, got := map[string][]string{}, map[string][]string{}
	for _, m := range r.Produced {
		if b := r.behaviour; b.hopeless(b.dice(m.Partition, m.Offset)) {
			want[m.Key] = append(want[m.Key], fmt.Sprintf("%d %s %d %d 1 because of it", m.Number, m.Stream, m.Partition, m.Offset))
		}
	}
	for key, ms := range r.readBack() {
		for _, m := range ms {
			text := fmt.Sprint(numberOf(&m))
			for _, name := range []string{pipeline.HeaderStream, pipeline.HeaderPartition, pipeline.HeaderOffset, pipeline.HeaderAttempts} {
				v, _ := m.Header(name)
				text += " " + string(v)
			}
			if cause, _ := m.Header(pipeline.HeaderError); strings.Contains(string(cause), errOnPurpose.Error()) {
				text += " because of it"
			}
			got[key] = append(got[key], text)
		}
	}
	if len(want) == 0 || !reflect.DeepEqual(got, want) {
		r.t.Errorf("letters by key:\n%v\nwant, with at least one,\n%v", got, want)
	}
}

// readBack appends an end to each partition of the outputs, and returns the messages before it by key.
func (r *run) readBack() map[string][]keystrand.Message {
	r.t.Helper()
	const end = "end"
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: hang guard
	defer cancel()
	var ends []Message
	for n := range int32(r.partitions) {
		ends = append(ends, Message{Place: Place{r.outputs, n}, Key: end})
	}
	r.must(r.target.produce(ctx, ends))
	src, err := r.target.about().access(r.outputs, "reader").source(slog.New(slog.DiscardHandler))
	r.must(err)
	defer func() { _ = src.Close() }()
	all := map[string][]keystrand.Message{}
	for n := range ends {
		p, err := src.Accept(ctx)
		r.must(err)
		defer func() { _ = p.Release(ctx) }()
		for len(all[end]) <= n {
			b := source.Batch{MaxMessages: 1_000, MaxBytes: 1 << 20}
			r.must(p.Fetch(ctx, &b))
			for _, m := range b.Messages {
				all[string(m.Key)] = append(all[string(m.Key)], m)
			}
		}
	}
	delete(all, end)
	return all
}

// checkOutputs reads the outputs of members that have left.
func (r *run) checkOutputs() {
	r.t.Helper()
	outputs := r.readBack()
	for key, produced := range r.source.numbers {
		var numbers []int64
		for _, m := range outputs[key] {
			numbers = append(numbers, numberOf(&m))
		}
		if err := checkOutputs(numbers, produced); err != nil {
			r.t.Errorf("outputs of key %s: %v: %v", key, err, numbers)
		}
		delete(outputs, key)
	}
	if len(outputs) > 0 {
		r.t.Errorf("outputs of keys that nobody produced: %v", outputs)
	}
}

// checkOutputs checks the outputs of one key, given as the numbers of its messages in the order of the output stream. Each
// message must be there, behind the one before it. After a restart, an earlier one may follow, and then all later ones again.
func checkOutputs(numbers []int64, produced int64) error {
	next := int64(0)
	for i, n := range numbers {
		if n < 0 || n > next {
			return fmt.Errorf("output %d is of message %d, directly after message %d: messages are missing", i, n, next-1)
		}
		next = n + 1
	}
	if next != produced {
		return fmt.Errorf("the last of %d outputs is of message %d, want message %d", len(numbers), next-1, produced-1)
	}
	return nil
}

func TestCheckOutputsFindsMissingAndMisplacedOutputs(t *testing.T) {
	for text, right := range map[string]bool{
		"0123": true, "012123": true, "012323": true, "00110123": true,
		"": false, "012": false, "123": false, "023": false, "02123": false, "012313": false, "012312": false, "01234": false, "01/0123": false,
	} {
		t.Run(text, func(t *testing.T) {
			var numbers []int64
			for _, c := range text {
				numbers = append(numbers, int64(c-'0')) // '/' is -1: not a number
			}
			if err := checkOutputs(numbers, 4); (err == nil) != right {
				t.Errorf("error is %v, right: %v", err, right)
			}
		})
	}
}
