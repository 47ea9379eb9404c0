package metadata

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Route is how to reach a partition: its leader, the versions that this broker supports, and the log.
type Route struct {
	ID      TopicID // zero if brokers have none
	Leader  int32
	Epoch   int32     // of the leader, -1 if not known
	Address string    // of the leader, for logs
	Fetch   int16     // version of the fetch request
	Found   time.Time // when Find returned it

	list int16 // version of the offsets request
}

// GoneAfter is how long brokers must say that a topic does not exist before it counts as deleted: a broker that has just
// started knows no topics for a moment.
const GoneAfter = 5 * time.Second

// Finder finds the route of one partition, again and again. It is used by one goroutine.
type Finder struct {
	c         Client
	topic     string
	partition int32
	newest    int16

	known   bool                    // the topic was found at least once
	id      string                  // the identity it must have; empty while not known
	missing time.Time               // since when brokers have said that there is no such topic
	speaks  map[int32]wire.Versions // of brokers asked before
}

// NewFinder returns a Finder. If logID is not empty, the topic must have this identity. newestFetch is the newest
// version of the fetch request that the caller writes.
func NewFinder(c Client, topic string, partition int32, logID string, newestFetch int16) *Finder {
	return &Finder{c: c, topic: topic, partition: partition, id: logID, newest: newestFetch}
}

// LogID returns the identity of the log, empty while it is not known or where brokers have none.
func (f *Finder) LogID() string { return f.id }

// Find returns the present route. Its errors are fatal (see Fatal) or transient.
func (f *Finder) Find(ctx context.Context) (*Route, error) {
	cl, err := f.c.askMetadata(ctx, []string{f.topic})
	if err != nil {
		return nil, fmt.Errorf("find the leader at %v: %w", f.c.Brokers, err)
	}
	t, ok := cl.topics[f.topic]
	p, exists := t.partitions[f.partition]
	switch {
	case !ok || errors.Is(t.err, kafka.UnknownTopicOrPartition) || t.err == nil && !exists:
		return nil, f.absent()
	case t.err != nil:
		return nil, t.err
	}
	if err := f.identify(t.id); err != nil {
		return nil, err
	}
	f.missing = time.Time{}
	if p.leader < 0 {
		if p.err != nil {
			return nil, p.err
		}
		return nil, kafka.LeaderNotAvailable
	}
	r := &Route{ID: t.id, Leader: p.leader, Epoch: p.epoch, Address: cl.brokers[p.leader], Found: time.Now()}
	return r, f.speak(ctx, r)
}

// absent returns the error of a topic that a broker does not know.
func (f *Finder) absent() error {
	if f.missing.IsZero() {
		f.missing = time.Now()
	}
	sure := time.Since(f.missing) >= GoneAfter
	switch {
	case f.known && (sure || f.id == ""): // without ids a log created again looks like the old one, so the position cannot be kept
		return ErrTopicGone
	case sure:
		return ErrUnknownTopic
	}
	return kafka.UnknownTopicOrPartition
}

// identify compares the log with the one that the position belongs to.
func (f *Finder) identify(id TopicID) error {
	found := id.String()
	if f.id != "" && found != "" && f.id != found {
		return ErrRecreated
	}
	f.known = true
	f.id = cmp.Or(f.id, found)
	return nil
}

// speak chooses the versions for the leader.
func (f *Finder) speak(ctx context.Context, r *Route) error {
	v, ok := f.speaks[r.Leader]
	if !ok {
		var err error
		if v, err = f.c.Versions(ctx, r.Leader); err != nil {
			return fmt.Errorf("ask leader %s for its versions: %w", r.Address, err)
		}
		if f.speaks == nil {
			f.speaks = map[int32]wire.Versions{}
		}
		f.speaks[r.Leader] = v
	}
	newest := f.newest
	if r.ID == (TopicID{}) {
		newest = min(newest, 12)
	}
	var err, err2 error
	r.Fetch, err = v.Choose(wire.KeyFetch, 4, newest)
	r.list, err2 = v.Choose(wire.KeyListOffsets, 2, newestList)
	return errors.Join(err, err2)
}

// Forget drops the versions of a broker: it may have been replaced by one of another version.
func (f *Finder) Forget(broker int32) { delete(f.speaks, broker) }

// Offset asks the leader for one offset. With committed the end is the last stable offset, else the high watermark.
func (f *Finder) Offset(ctx context.Context, r *Route, q Query, committed bool) (int64, error) {
	l := listRequest{
		version: r.list, topic: f.topic, committed: committed,
		stamps: map[int32]int64{f.partition: q.stamp()}, epochs: map[int32]int32{f.partition: r.Epoch},
	}
	found := map[int32]int64{}
	err := f.c.list(ctx, r.Leader, &l, found)
	return found[f.partition], err
}
