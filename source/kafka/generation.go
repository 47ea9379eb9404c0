package kafka

import (
	"context"
	"errors"
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
// Owns: the committer, the heartbeats, and a goroutine that ends the offers. All have ended when keep returns.
type generation struct {
	s       *Source
	session *group.Session
	commits *progress.Committer

	wake chan struct{} // room for one: a partition was released

	// Guarded by Source.mu.
	todo     []assign.Partition                  // not offered yet
	live     map[assign.Partition]*Partition     // offered and not released
	forced   map[assign.Partition]metadata.Query // where to start, whatever is committed
	absent   map[assign.Partition]time.Time      // since when brokers do not know the partition
	replaced map[string]bool                     // topics of which a replaced log was reported
	ended    bool                                // no partition is offered any more
}

func newGeneration(s *Source, session *group.Session) *generation {
	g := &generation{
		s:        s,
		session:  session,
		wake:     make(chan struct{}, 1),
		todo:     slices.Clone(session.Assigned),
		live:     make(map[assign.Partition]*Partition, len(session.Assigned)),
		forced:   make(map[assign.Partition]metadata.Query),
		absent:   make(map[assign.Partition]time.Time),
		replaced: make(map[string]bool),
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

// keep returns when all partitions are released or lost. The member joins the group again only after that, so the broker
// assigns the partitions to others only after they are released. ctx ends with Close.
func (g *generation) keep(ctx context.Context) {
	member := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // commits and heartbeats go on while partitions drain
	defer g.s.left(g)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { g.commits.Run(ctx) })
	running.Go(func() { g.session.Keep(ctx) })
	g.s.logJoined(member, g.session)

	offering, stop := context.WithCancel(ctx)
	defer stop()
	running.Go(func() {
		select {
		case <-g.s.changed:
			g.session.End(causeTopics)
		case <-g.session.Ending():
		case <-g.s.closing:
		case <-offering.Done():
		}
		stop()
	})
	g.offer(offering)
	g.s.logEnding(member, g.session)
	g.handOver(ctx)
}

// offer queues the assigned partitions for Accept, each after its previous ownership is released, until ctx ends.
func (g *generation) offer(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		if names := g.free(); len(names) > 0 && !g.begin(ctx, names) {
			return
		}
		again.Stop()
		switch {
		case g.looking():
			again.Reset(findInterval)
		case g.s.cfg.StopAtEnd && g.finished(ctx):
			again.Reset(g.s.cfg.HeartbeatInterval) // look again at the other members
		}
		select {
		case <-g.wake:
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// begin restores partitions and queues them. It reports false if ctx has ended.
func (g *generation) begin(ctx context.Context, names []assign.Partition) bool {
	owned, err := g.restore(ctx, names)
	if err == nil && ctx.Err() == nil {
		g.enqueue(owned)
		return true
	}
	for _, p := range owned {
		p.reader.Close()
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, metadata.ErrUnknownTopic): // deleted meanwhile
		g.retry(names)
		return true
	default:
		g.s.fail(err)
		<-ctx.Done() // stay a member while the pipeline drains its partitions
	}
	return false
}

// retry looks again for partitions of which one was deleted.
func (g *generation) retry(names []assign.Partition) {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	for _, n := range names {
		if _, waits := g.absent[n]; !waits { // else it is in todo
			g.absent[n] = time.Now()
			g.todo = append(g.todo, n)
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
