package kafka

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// generation is the partitions that this member owns between two rebalances.
//
// Owns: the committer, the heartbeats while partitions drain, and a goroutine that ends the offers. All have ended when keep
// returns.
type generation struct {
	s       *Source
	session *group.Session
	commits *progress.Committer

	wake  chan struct{} // room for one: a partition was released
	again chan struct{} // room for one: hand over and join again
	over  chan struct{} // closed: all partitions are released or lost

	// Guarded by Source.mu.
	todo   []assign.Partition                  // not offered yet
	live   map[assign.Partition]*Partition     // offered and not released
	forced map[assign.Partition]metadata.Query // where to start, whatever is committed
	ended  bool                                // no partition is offered any more
}

func newGeneration(s *Source, session *group.Session, assigned []assign.Partition) *generation {
	g := &generation{
		s:       s,
		session: session,
		wake:    make(chan struct{}, 1),
		again:   make(chan struct{}, 1),
		over:    make(chan struct{}),
		todo:    slices.Clone(assigned),
		live:    make(map[assign.Partition]*Partition, len(assigned)),
		forced:  make(map[assign.Partition]metadata.Query),
	}
	g.commits = progress.NewCommitter(session, s.limit, g.owned)
	return g
}

// owned returns how many partitions may commit now.
func (g *generation) owned() int {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return len(g.live)
}

// keep runs as long as the generation; gen ends with it. kafka-go joins the group again only after keep has returned, so the
// broker assigns the partitions to others only after they are released.
func (g *generation) keep(gen context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(gen)) // partitions drain after gen has ended
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { g.commits.Run(ctx) })

	offering, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(gen, stop)()
	running.Go(func() {
		select {
		case <-g.again:
		case <-g.session.Fenced():
		case <-g.s.closing:
		case <-offering.Done():
		}
		stop()
	})
	g.offer(offering)
	g.handOver(ctx)
	g.s.left(g)
	close(g.over)
	select {
	case <-g.s.closing:
		<-gen.Done() // the library must hear of Close before keep returns, or it joins again instead of leaving
	default:
	}
}

// offer queues the assigned partitions for Accept, each after its previous ownership is released, until ctx ends.
func (g *generation) offer(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		if names := g.free(); len(names) > 0 {
			owned, err := g.restore(ctx, names)
			if err != nil || ctx.Err() != nil {
				for _, p := range owned {
					p.reader.Close()
				}
				if ctx.Err() == nil {
					g.s.fail(err)
					<-ctx.Done() // stay a member while the pipeline drains its partitions
				}
				return
			}
			g.enqueue(owned)
		}
		again.Stop()
		if g.s.cfg.StopAtEnd && g.finished(ctx) {
			again.Reset(g.s.cfg.HeartbeatInterval) // look again at the other members
		}
		select {
		case <-g.wake:
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// free removes from todo the partitions that this process does not hold any more.
func (g *generation) free() []assign.Partition {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	var names []assign.Partition
	g.todo = slices.DeleteFunc(g.todo, func(n assign.Partition) bool {
		if g.s.held[n] != nil {
			return false
		}
		names = append(names, n)
		return true
	})
	return names
}

// enqueue gives partitions to Accept.
func (g *generation) enqueue(owned []*Partition) {
	s := g.s
	s.mu.Lock()
	for _, p := range owned {
		g.live[p.name] = p
		s.held[p.name] = p
		s.epochs[p.name] = p.id.Epoch
		delete(g.forced, p.name)
		s.queue = append(s.queue, p)
	}
	s.mu.Unlock()
	poke(s.arrived)
}
