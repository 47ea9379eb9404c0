package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// liveGroup is a world with a real broker: a topic of its own with two partitions and ten messages in each. The group has
// the name of the topic.
type liveGroup struct {
	*world
	client *kgo.Client
	id     kadm.TopicID
}

func newLiveGroup(t *testing.T, variable, name string) *liveGroup {
	t.Helper()
	brokers := liveBrokers(t, variable)
	cl := newClient(t, brokers, (&net.Dialer{Timeout: 5 * time.Second}).DialContext)
	w := &world{t: t, brokers: brokers, topic: fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), wait: time.Minute}
	adm := kadm.NewClient(cl)
	created, err := adm.CreateTopic(t.Context(), 2, -1, nil, w.topic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = adm.DeleteTopics(context.Background(), w.topic) })
	for i := range 20 {
		r := &kgo.Record{Topic: w.topic, Partition: int32(i % 2), Value: fmt.Append(nil, i)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return &liveGroup{world: w, client: cl, id: created.ID}
}

func (g *liveGroup) member(change func(*kafka.Config)) *kafka.Source {
	g.t.Helper()
	return g.source(g.topic, func(c *kafka.Config) {
		*c = kafka.Config{MaxWait: 100 * time.Millisecond}
		if testing.Verbose() {
			c.Logger = slog.New(slog.NewTextHandler(testLog{g.t}, nil))
		}
		change(c)
	})
}

// next accepts one partition in the background; nil if there is none.
func (g *liveGroup) next(s *kafka.Source) <-chan source.Partition {
	got := make(chan source.Partition, 1)
	go func() {
		ctx, cancel := context.WithTimeout(g.t.Context(), g.wait)
		defer cancel()
		p, err := s.Accept(ctx)
		if err != nil {
			g.t.Errorf("Accept = %v: %+v", err, s.Report())
		}
		got <- p
	}()
	return got
}

// leave returns the next value of Leaving.
func (g *liveGroup) leave(p source.Partition) source.Leave {
	g.t.Helper()
	select {
	case l := <-p.Leaving():
		return l
	case <-time.After(g.wait): // real time: a guard against a hang
		g.t.Fatalf("%v: neither revoked nor lost", p.ID())
		return source.Leave{}
	}
}

// committed returns the committed offset of a partition.
func (g *liveGroup) committed(partition int32) int64 {
	g.t.Helper()
	all, err := kadm.NewClient(g.client).FetchOffsets(g.t.Context(), g.topic)
	if err != nil {
		g.t.Fatal(err)
	}
	o, _ := all.Lookup(g.topic, partition)
	return o.At
}

// knowsNotTheCoordinator removes the coordinator of the group from the brokers that members are configured with.
func (g *liveGroup) knowsNotTheCoordinator() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), g.wait)
	defer cancel()
	for {
		c := kadm.NewClient(g.client).FindGroupCoordinators(ctx, g.topic)[g.topic]
		if c.Err == nil {
			address := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
			g.brokers = slices.DeleteFunc(g.brokers, func(b string) bool { return b == address })
			return
		}
		if ctx.Err() != nil {
			g.t.Fatal(c.Err)
		}
		time.Sleep(100 * time.Millisecond) // real time: the first group of a cluster waits for its coordinator
	}
}

// Two and a half sessions of draining, without any commit in between: only the heartbeats of the hand-over keep the
// membership, and they have to find the coordinator.
func TestLiveDrainLongerThanTheSessionKeepsTheMembership(t *testing.T) {
	t.Parallel()
	t.Run("one broker", func(t *testing.T) {
		g := newLiveGroup(t, "KEYSTRAND_KAFKA", "drain")
		t.Parallel()
		g.drainLongerThanTheSession()
	})
	t.Run("three brokers", func(t *testing.T) {
		g := newLiveGroup(t, "KEYSTRAND_KAFKA3", "drain")
		t.Parallel()
		g.knowsNotTheCoordinator()
		g.drainLongerThanTheSession()
	})
}

func (g *liveGroup) drainLongerThanTheSession() {
	t := g.t
	session := func(c *kafka.Config) { c.SessionTimeout, c.HeartbeatInterval = 4*time.Second, 500*time.Millisecond }
	a, b := g.member(session), g.member(session)
	ps := g.accept(a, 2)
	g.fetch(ps[0], 10)
	g.fetch(ps[1], 10)
	member := a.Report().Member
	got := g.next(b)
	for _, p := range ps {
		if l := g.leave(p); l.Lost {
			t.Fatalf("%v is lost, want revoked", p.ID())
		}
	}
	time.Sleep(10 * time.Second) // real time: the sessions have to pass
	select {
	case <-got:
		t.Fatal("the other member accepts, or fails, while the owner drains")
	default:
	}
	frontiers := map[int32]int64{0: 5, 1: 7}
	for n, p := range ps {
		if len(p.Leaving()) > 0 {
			t.Errorf("%v is lost in an orderly drain", p.ID())
		}
		if _, err := p.Commit(t.Context(), progress(p, frontiers[n])); err != nil {
			t.Errorf("%v: the commit at the end of the drain: %v", p.ID(), err)
		}
		g.release(p)
	}
	as, moved := g.accept(a, 1), <-got
	if now := a.Report().Member; now != member {
		t.Errorf("member %s became %q: it was evicted", member, now)
	}
	if moved == nil {
		t.FailNow()
	}
	if as[moved.ID().Partition] != nil {
		t.Errorf("%v has two owners", moved.ID())
	}
	want := frontiers[moved.ID().Partition]
	if offsets := g.fetch(moved, 10-int(want)); moved.Restored().Frontier != want || offsets[0] != want {
		t.Errorf("%v: the other member starts at %+v with message %d, want %d", moved.ID(), moved.Restored(), offsets[0], want)
	}
	g.close(a, as)
	g.close(b, map[int32]source.Partition{0: moved})
}

// A member that does not drain loses its partitions before another one gets any, so before the broker continues without it.
// The source refuses its late commits, and so does the broker.
func TestLiveMemberThatNeverDrainsLosesItsPartitions(t *testing.T) {
	g := newLiveGroup(t, "KEYSTRAND_KAFKA", "stuck")
	t.Parallel()
	timeout := func(c *kafka.Config) { c.RebalanceTimeout, c.HeartbeatInterval = 12*time.Second, time.Second }
	a, b := g.member(timeout), g.member(timeout)
	ps := g.accept(a, 2)
	g.commit(ps[0], 3)
	g.commit(ps[1], 3)
	member, generation := a.Report().Member, a.Generation()
	got := g.next(b)
	for _, p := range ps {
		if l := g.leave(p); l.Lost {
			t.Fatalf("%v is lost, want revoked first", p.ID())
		}
	}
	for _, p := range ps {
		select {
		case l := <-p.Leaving():
			if !l.Lost {
				t.Errorf("%v: leave = %+v, want lost", p.ID(), l)
			}
		case <-got:
			t.Fatalf("the other member accepts, or fails, before %v is lost", p.ID())
		}
	}
	moved := <-got
	if moved == nil {
		t.FailNow()
	}
	stuck := ps[moved.ID().Partition]
	if moved.ID().Epoch <= stuck.ID().Epoch {
		t.Errorf("%v follows %v", moved.ID(), stuck.ID())
	}
	if offsets := g.fetch(moved, 7); offsets[0] != 3 {
		t.Errorf("%v: the other member starts at message %d, want 3", moved.ID(), offsets[0])
	}
	g.commit(moved, 5)
	if _, err := stuck.Commit(t.Context(), progress(stuck, 9)); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("a commit of the partition that is lost = %v, want ErrFenced", err)
	}
	if err := g.commitInTheNameOf(member, generation, stuck.ID().Partition, 9); !errors.Is(err, kerr.IllegalGeneration) && !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("a commit of the generation that is over = %v, want that the broker refuses it", err)
	}
	if offset := g.committed(stuck.ID().Partition); offset != 5 {
		t.Errorf("committed = %d, want 5, as the new owner did", offset)
	}
	kept := ps[1-moved.ID().Partition]
	g.release(stuck, kept)
	as := g.accept(a, 1)
	if p := as[kept.ID().Partition]; p == nil || p.Restored().Frontier != 3 {
		t.Errorf("the member that released late has %v, want %s/%d from 3 on", as, g.topic, kept.ID().Partition)
	}
	g.close(a, as)
	g.close(b, map[int32]source.Partition{0: moved})
}

// commitInTheNameOf sends a commit in the name of a member and a generation.
func (g *liveGroup) commitInTheNameOf(member string, generation, partition int32, offset int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = g.topic, generation, member
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = g.topic, g.id, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(g.t.Context(), g.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
