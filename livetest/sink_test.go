//go:build unix

package livetest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
)

// recordedSink tells the history what is durable, before its pipeline knows.
type recordedSink struct {
	sink.Sink
	record *Recorder
}

func (s recordedSink) Open() (sink.Writer, error) {
	w, err := s.Sink.Open()
	if err != nil {
		return nil, err
	}
	return recordedWriter{w, s.record}, nil
}

type recordedWriter struct {
	sink.Writer
	record *Recorder
}

func (w recordedWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	err := w.Writer.Write(ctx, ms)
	partial, _ := errors.AsType[*sink.PartialError](err)
	for i := range ms {
		m := &ms[i]
		if err == nil || partial != nil && i < len(partial.Errs) && partial.Errs[i] == nil {
			w.record.Write(Event{
				Kind: Written, Stream: m.Stream, Partition: m.Partition, Epoch: m.Epoch, Offset: m.Offset,
				Key: string(m.Key), Number: int64(len(ms)),
			})
		}
	}
	return err
}

// endOfOutputs is the key of the last message of each partition.
const endOfOutputs = "end"

// checkOutputs reads what the members have written, once they are gone.
func (r *run) checkOutputs() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), guard) // real time: hang guard
	defer cancel()
	var ends []Message
	for n := range int32(r.setup.partitions) {
		ends = append(ends, Message{Place: Place{r.outputs, n}, Key: endOfOutputs})
	}
	if err := r.cluster.Produce(ctx, ends); err != nil {
		r.t.Fatal(err)
	}
	written := map[string][]int64{}
	var ended atomic.Int32
	runUntil(ctx, r.t, sourceOf(r.t, r.cluster, r.outputs, r.outputs+"-group"), func(b *pipeline.Builder) {
		b.Key(keystrand.ByPartition).Limits(pipeline.Limits{Workers: 1}) // as it stands there; and written needs no lock
	}, func(m *keystrand.Message) error {
		if string(m.Key) == endOfOutputs {
			ended.Add(1)
		} else {
			written[string(m.Key)] = append(written[string(m.Key)], numberOf(m))
		}
		return nil
	}, func(*pipeline.Snapshot) bool { return int(ended.Load()) == r.setup.partitions })

	produced := map[string]int64{}
	for _, m := range r.produced {
		produced[m.Key]++
	}
	outputs, wrong := 0, 0
	for key, numbers := range written {
		outputs += len(numbers)
		if err := CheckOutputs(numbers, produced[key]); err != nil {
			if wrong++; wrong <= mostTold {
				r.t.Errorf("outputs of key %s: %v: %v", key, err, numbers)
			}
		}
		delete(produced, key)
	}
	for key, n := range produced {
		r.t.Errorf("key %s has no output, want those of %d messages", key, n)
	}
	r.t.Logf("%d outputs of %d messages", outputs, len(r.produced))
}
