package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// generation is one share of the partitions: what this member owns between two rebalances.
//
// Owns: the committer, and while it hands over the heart. All have ended when keep returns.
type generation struct {
	s       *Source
	id      int32
	member  string
	commits *committer

	wake   chan struct{} // room for one: something was released
	again  chan struct{} // closed: hand over and join again
	fenced chan struct{} // closed: the broker does not know us any more
	over   chan struct{} // closed: keep has handed everything over
	onces  [2]sync.Once

	// Guarded by Source.mu.
	assigned []partitionName
	todo     []partitionName                 // not offered yet
	live     map[partitionName]*Partition    // offered and not released
	forced   map[partitionName]metadata.Query // begin there, whatever is committed
	ended    bool                            // nothing more is offered
	alive    time.Time                       // when we last asked what the coordinator answered as to a member
}

func newGeneration(s *Source, id int32, member string, assigned []partitionName) *generation {
	g := &generation{
		s:        s,
		id:       id,
		member:   member,
		wake:     make(chan struct{}, 1),
		again:    make(chan struct{}),
		fenced:   make(chan struct{}),
		over:     make(chan struct{}),
		assigned: assigned,
		todo:     slices.Clone(assigned),
		live:     make(map[partitionName]*Partition, len(assigned)),
		forced:   make(map[partitionName]metadata.Query),
		alive:    time.Now(),
	}
	g.commits = newCommitter(g)
	return g
}

func (g *generation) look()   { poke(g.wake) }
func (g *generation) rejoin() { g.onces[0].Do(func() { close(g.again) }) }

// keep runs as long as the generation. It is given to kafka-go, which joins the group again only after it has returned:
// returning is how we tell the broker that everything was released.
func (g *generation) keep(gen context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(gen)) // what is owned is drained after gen has ended
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { g.commits.run(ctx) })

	offering, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(gen, stop)()
	running.Go(func() {
		select {
		case <-g.again:
		case <-g.fenced:
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
		// Close has to reach the library before our return does: it would join again instead of leaving.
		<-gen.Done()
	default:
	}
}

// offer hands the assigned partitions out, each as soon as its earlier ownership was released, until ctx ends.
func (g *generation) offer(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		if names := g.free(); len(names) > 0 {
			owned, err := g.restore(ctx, names)
			if ctx.Err() != nil {
				discard(owned)
				return
			}
			if err != nil {
				discard(owned)
				g.s.fail(err)
				<-ctx.Done() // stay a member until the pipeline has drained what it has
				return
			}
			g.hand(owned)
		}
		again.Stop()
		if g.s.cfg.StopAtEnd && g.finished(ctx) {
			again.Reset(g.s.cfg.HeartbeatInterval) // others are not there yet
		}
		select {
		case <-g.wake:
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// free takes from todo what nobody in this process holds any more.
func (g *generation) free() []partitionName {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	var names []partitionName
	g.todo = slices.DeleteFunc(g.todo, func(n partitionName) bool {
		if g.s.held[n] != nil {
			return false
		}
		names = append(names, n)
		return true
	})
	return names
}

// hand puts partitions where Accept finds them.
func (g *generation) hand(owned []*Partition) {
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

func discard(owned []*Partition) {
	for _, p := range owned {
		p.reader.Close()
	}
}

// handOver gives all partitions back (the design's "leave, step by step", the source's side): it asks for them, keeps
// the membership alive while they are drained, and returns when all are released, lost, or the time is over.
//
// kafka-go stops its heartbeats the moment a generation ends, and the broker would evict a member whose drain takes
// longer than the session timeout. Hence the heart of our own.
func (g *generation) handOver(ctx context.Context) {
	s := g.s
	deadline := time.Now().Add(s.cfg.RebalanceTimeout - s.cfg.margin())
	g.withdraw(ctx)
	live := g.living()
	if len(live) == 0 {
		return
	}
	s.mu.Lock()
	s.enterLocked(stateHandingOver)
	// The library does not tell when its last heartbeat was answered. At the latest it was this long ago.
	if known := time.Now().Add(-s.cfg.HeartbeatInterval - s.cfg.groupTimeout()); known.After(g.alive) {
		g.alive = known
	}
	s.mu.Unlock()
	for _, p := range live {
		p.ask(source.Leave{Deadline: deadline})
	}
	var beating sync.WaitGroup
	defer beating.Wait()
	hearts, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	beating.Go(func() { g.heart(hearts) })
	for {
		why := "the source was closed"
		select {
		case <-g.wake:
			if len(g.living()) == 0 {
				return
			}
			continue
		case <-g.fenced:
			why = "the group has gone on without this member"
		case <-hearts.Done():
			why = "it was not released before the rebalance timeout"
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: partitions were not released in time, they are lost",
				slog.String("group", s.group), slog.Int("partitions", len(g.living())), slog.Duration("rebalance_timeout", s.cfg.RebalanceTimeout))
		case <-s.closing:
		}
		for _, p := range g.living() {
			p.lose(why)
		}
		return
	}
}

// withdraw ends the offers. Partitions that nobody has accepted are released here.
func (g *generation) withdraw(ctx context.Context) {
	s := g.s
	s.mu.Lock()
	g.ended = true
	var back []*Partition
	s.queue = slices.DeleteFunc(s.queue, func(p *Partition) bool {
		if p.gen != g {
			return false
		}
		back = append(back, p)
		return true
	})
	s.mu.Unlock()
	for _, p := range back {
		_ = p.Release(ctx) // it has nothing to wait for, nobody has committed
	}
}

func (g *generation) living() []*Partition {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	live := make([]*Partition, 0, len(g.live))
	for _, p := range g.live {
		live = append(live, p)
	}
	slices.SortFunc(live, func(p, q *Partition) int { return p.name.Compare(q.name) })
	return live
}

// heart keeps the membership alive until ctx ends. When the broker says that we are no member any more, or has not said
// anything for so long that it must have given the partitions to others, it fences the generation.
func (g *generation) heart(ctx context.Context) {
	interval := min(g.s.cfg.HeartbeatInterval, g.s.cfg.SessionTimeout/5)
	for {
		began := time.Now()
		err := g.beat(ctx, interval)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			g.wasAlive(began)
			g.s.health.Works(ctx, "heartbeat")
		case gone(err):
			g.lost(ctx, err)
			return
		default:
			g.s.health.Fails(ctx, "heartbeat", fmt.Errorf("group %q: %w", g.s.group, err))
			// Before the session is over, not after: the next look is up to two intervals away.
			if time.Since(g.lastAlive())+2*interval > g.s.cfg.SessionTimeout {
				g.lost(ctx, fmt.Errorf("no answer for almost the session timeout of %v: %w", g.s.cfg.SessionTimeout, err))
				return
			}
		}
		if !sleep(ctx, interval) {
			return
		}
	}
}

// gone tells whether the broker says that we are no member of this generation.
func gone(err error) bool {
	return errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.IllegalGeneration) ||
		errors.Is(err, kafkago.FencedInstanceID)
}

// lost fences the generation and tells the log.
func (g *generation) lost(ctx context.Context, why error) {
	g.onces[1].Do(func() {
		g.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the membership is lost, and its partitions with it",
			slog.String("group", g.s.group), slog.Int("generation", int(g.id)), slog.Any("error", why))
		close(g.fenced)
	})
}

// wasAlive notes that the coordinator has answered a member's question that was asked then: the session lasts from some time
// after it on. The answer itself may have been on its way for long.
func (g *generation) wasAlive(asked time.Time) {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if asked.After(g.alive) {
		g.alive = asked
	}
}

// lastAlive returns since when the coordinator has certainly known us as a member.
func (g *generation) lastAlive() time.Time {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return g.alive
}

// expected is how many partitions may commit now.
func (g *generation) expected() int {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return len(g.live)
}

var errFencedGeneration = fmt.Errorf("the generation is over: %w", commit.ErrFenced)
