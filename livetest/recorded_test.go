//go:build unix

package livetest

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
)

// recordedSource writes to the history what passes between a source and its pipeline.
type recordedSource struct {
	source.Source
	record *recorder
}

// recorded returns a source with the optional methods of Kafka's or of Pulsar's.
func recorded(s source.Source, record *recorder) source.Source {
	r := recordedSource{s, record}
	switch s := s.(type) {
	case source.Prefetcher:
		return struct {
			recordedSource
			source.Prefetcher
		}{r, s}
	case source.Stopper:
		return struct {
			recordedSource
			source.Stopper
		}{r, s}
	}
	return r
}

// Moves says that members share the partitions.
func (recordedSource) Moves() bool { return true }

func (s recordedSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	r := recordedPartition{p, s.record, make(chan source.Leave, 2), make(chan struct{}), make(chan struct{})}
	r.write(Event{Kind: Accepted, Progress: *p.Restored()})
	go r.tell()
	if l, ok := p.(source.Lagger); ok {
		return struct {
			recordedPartition
			source.Lagger
		}{r, l}, nil
	}
	return r, nil
}

type recordedPartition struct {
	source.Partition
	record  *recorder
	leaving chan source.Leave
	over    chan struct{} // closed by Release
	told    chan struct{} // closed when tell has returned
}

func (p recordedPartition) write(e Event) {
	e.Place, e.Epoch = Place{p.ID().Stream, p.ID().Partition}, p.ID().Epoch
	p.record.write(e)
}

// tell passes on a leave after its event.
func (p recordedPartition) tell() {
	defer close(p.told)
	for {
		select {
		case l := <-p.Partition.Leaving():
			if l.Lost {
				p.write(Event{Kind: Lost})
			}
			p.leaving <- l
		case <-p.over:
			return
		}
	}
}

func (p recordedPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p recordedPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	p.write(Event{Kind: Trying, Progress: *progress})
	stored, err := p.Partition.Commit(ctx, progress)
	switch {
	case err == nil:
		p.write(Event{Kind: Stored, Count: int(stored.Replays)})
	case errors.Is(err, commit.ErrFenced):
		p.write(Event{Kind: Lost, Text: err.Error()})
	}
	return stored, err
}

func (p recordedPartition) Release(ctx context.Context) error {
	close(p.over)
	<-p.told
	p.write(Event{Kind: Released})
	return p.Partition.Release(ctx)
}

// recordedSink writes to the history which outputs or dead letters are durable, before the pipeline knows.
type recordedSink struct {
	sink.Sink
	kind   Kind
	record *recorder
}

func (s recordedSink) Open() (sink.Writer, error) {
	w, err := s.Sink.Open()
	return recordedWriter{w, s}, err
}

type recordedWriter struct {
	sink.Writer
	recordedSink
}

func (w recordedWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	err := w.Writer.Write(ctx, ms)
	partial, _ := errors.AsType[*sink.PartialError](err)
	for i := range ms {
		if err == nil || partial != nil && i < len(partial.Errs) && partial.Errs[i] == nil {
			e := eventOf(w.kind, &ms[i])
			e.Count = len(ms)
			if stream, isLetter := ms[i].Header(pipeline.HeaderStream); isLetter {
				e.Stream = string(stream)
			}
			w.record.write(e)
		}
	}
	return err
}
