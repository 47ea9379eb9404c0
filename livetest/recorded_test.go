//go:build unix

package livetest

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// recordedSource tells the history what goes between a source and its pipeline.
type recordedSource struct {
	source.Source
	record *Recorder
}

func (s *recordedSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	r := &recordedPartition{Partition: p, record: s.record, leaving: make(chan source.Leave, 2), over: make(chan struct{}), told: make(chan struct{})}
	e := r.event(Accepted)
	e.Progress = fromCommit(p.Restored())
	s.record.Write(e)
	go r.tell()
	return r, nil
}

// Moves is that of the source.
func (s *recordedSource) Moves() bool {
	m, ok := s.Source.(source.Mover)
	return ok && m.Moves()
}

// Stop is that of the source.
func (s *recordedSource) Stop() {
	if stopper, ok := s.Source.(source.Stopper); ok {
		stopper.Stop()
	}
}

// LimitPrefetch is that of the source.
func (s *recordedSource) LimitPrefetch(bytes int) {
	if f, ok := s.Source.(source.Prefetcher); ok {
		f.LimitPrefetch(bytes)
	}
}

// Prefetched is that of the source.
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

func (p *recordedPartition) event(k Kind) Event {
	id := p.ID()
	return Event{Kind: k, Stream: id.Stream, Partition: id.Partition, Epoch: id.Epoch}
}

// tell passes on what the source wants, once it stands in the history.
func (p *recordedPartition) tell() {
	defer close(p.told)
	for {
		select {
		case l := <-p.Partition.Leaving():
			k := Asked
			if l.Lost {
				k = Lost
			}
			p.record.Write(p.event(k))
			p.leaving <- l
		case <-p.over:
			return
		}
	}
}

func (p *recordedPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p *recordedPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	e := p.event(Trying)
	e.Progress = fromCommit(progress)
	p.record.Write(e)
	stored, err := p.Partition.Commit(ctx, progress)
	switch {
	case err == nil:
		e = p.event(Stored)
		e.Number = stored.Replays
		p.record.Write(e)
	case errors.Is(err, commit.ErrFenced): // from here on it knows
		e = p.event(Lost)
		e.Text = err.Error()
		p.record.Write(e)
	}
	return stored, err
}

func (p *recordedPartition) Release(ctx context.Context) error {
	close(p.over)
	<-p.told
	p.record.Write(p.event(Released))
	return p.Partition.Release(ctx)
}

// End is that of the source.
func (p *recordedPartition) End() (int64, bool) {
	if l, ok := p.Partition.(source.Lagger); ok {
		return l.End()
	}
	return 0, false
}

func fromCommit(p *commit.Progress) Progress {
	q := Progress{Frontier: p.Frontier}
	for _, r := range p.Ahead {
		q.Ahead = append(q.Ahead, Range{r.From, r.To})
	}
	return q
}
