package bench

import (
	"context"

	"github.com/keystrand/keystrand/source"
)

// Gather returns a source that returns no partition before it has accepted n of s, and then calls ready. So a measurement
// does not include joining a group.
func Gather(s source.Source, n int, ready func()) source.Source {
	return &gathered{Source: s, n: n, ready: ready}
}

type gathered struct {
	source.Source
	n       int
	ready   func()
	waiting []source.Partition
}

// Accept implements [source.Source].
func (g *gathered) Accept(ctx context.Context) (source.Partition, error) {
	for ; g.n > 0; g.n-- {
		p, err := g.Source.Accept(ctx)
		if err != nil {
			return nil, err // the waiting partitions are not released: the run has failed
		}
		g.waiting = append(g.waiting, p)
		if g.n == 1 {
			g.ready()
		}
	}
	if len(g.waiting) == 0 {
		return g.Source.Accept(ctx)
	}
	p := g.waiting[0]
	g.waiting = g.waiting[1:]
	return p, nil
}
