//go:build unix

package livetest

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
)

// recordedSource writes to the history what passes between a source and its pipeline.
type recordedSource struct {
	source.Source
	record *Recorder
}

func (s *recordedSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	r := &recordedPartition{p, s.record, make(chan source.Leave, 2), make(chan struct{}), make(chan struct{})}
	r.write(Accepted, func(e *Event) { e.Progress = *p.Restored() })
	go r.tell()
	return r, nil
}

// Moves says that members share the partitions.
func (s *recordedSource) Moves() bool { return true }

// Stop, End, LimitPrefetch and Prefetched are optional.
func (s *recordedSource) Stop() {
	if stopper, ok := s.Source.(source.Stopper); ok {
		stopper.Stop()
	}
}

func (p *recordedPartition) End() (int64, bool) {
	if l, ok := p.Partition.(source.Lagger); ok {
		return l.End()
	}
	return 0, false
}

func (s *recordedSource) LimitPrefetch(bytes int) {
	if f, ok := s.Source.(source.Prefetcher); ok {
		f.LimitPrefetch(bytes)
	}
}

func (s *recordedSource) Prefetched() int64 {
	if f, ok := s.Source.(source.Prefetcher); ok {
		return f.Prefetched()
	}
	return 0
}

type recordedPartition struct {
	source.Partition
	record  *Recorder
	leaving chan source.Leave
	over    chan struct{} // closed by Release
	told    chan struct{} // closed when tell has returned
}

func (p *recordedPartition) write(k Kind, set func(*Event)) {
	id := p.ID()
	e := Event{Kind: k, Stream: id.Stream, Partition: id.Partition, Epoch: id.Epoch}
	set(&e)
	p.record.Write(e)
}

// tell passes on a leave after its event.
func (p *recordedPartition) tell() {
	defer close(p.told)
	for {
		select {
		case l := <-p.Partition.Leaving():
			k := Asked
			if l.Lost {
				k = Lost
			}
			p.write(k, func(*Event) {})
			p.leaving <- l
		case <-p.over:
			return
		}
	}
}

func (p *recordedPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p *recordedPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	p.write(Trying, func(e *Event) { e.Progress = *progress })
	stored, err := p.Partition.Commit(ctx, progress)
	switch {
	case err == nil:
		p.write(Stored, func(e *Event) { e.Number = stored.Replays })
	case errors.Is(err, commit.ErrFenced):
		p.write(Lost, func(e *Event) { e.Text = err.Error() })
	}
	return stored, err
}

func (p *recordedPartition) Release(ctx context.Context) error {
	close(p.over)
	<-p.told
	p.write(Released, func(*Event) {})
	return p.Partition.Release(ctx)
}

// recordedSink writes to the history which outputs or dead letters are durable, before the pipeline knows.
type recordedSink struct {
	sink.Sink
	kind   Kind
	record *Recorder
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
			e.Number = int64(len(ms))
			w.record.Write(e)
		}
	}
	return err
}
