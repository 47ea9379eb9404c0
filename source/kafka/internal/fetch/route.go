package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// route is how to reach the partition: who leads it, what that broker speaks, and which log it is.
type route struct {
	id      topicID
	leader  int32
	epoch   int32
	address string // of the leader, for logs
	fetch   int16  // version of the fetch request
	list    int16  // version of the offsets request
	found   time.Time
}

// goneAfter is how long brokers must say that a topic does not exist before it counts as deleted: one that has just
// started, or has not heard yet, may say so for a moment.
const goneAfter = 5 * time.Second

// recheck is how often the topic's id is compared where fetch requests go by name (Kafka before 3.1).
const recheck = 3 * time.Second

// finder finds the route of one partition, again and again. It is used by one goroutine.
type finder struct {
	cfg       *Config
	topic     string
	partition int32

	known   bool               // the topic was found at least once
	id      string             // the identity it must have; empty while not known
	missing time.Time          // since when brokers have said that there is no such topic
	speaks  map[int32]versions // of brokers asked before
}

// find asks for the route. Its errors are final (see Fatal) or pass.
func (f *finder) find(ctx context.Context) (*route, error) {
	cl, err := f.cfg.askMetadata(ctx, []string{f.topic})
	if err != nil {
		return nil, fmt.Errorf("asking %v for the leader: %w", f.cfg.Brokers, err)
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
	r := &route{id: t.id, leader: p.leader, epoch: p.epoch, address: cl.brokers[p.leader], found: time.Now()}
	return r, f.speak(ctx, r)
}

// absent decides what it means that a broker does not know the topic.
func (f *finder) absent() error {
	if f.missing.IsZero() {
		f.missing = time.Now()
	}
	sure := time.Since(f.missing) >= goneAfter
	switch {
	case f.known && (sure || f.id == ""): // without ids a log made again looks like the old one: rather begin anew
		return ErrTopicGone
	case sure:
		return ErrUnknownTopic
	}
	return kafka.UnknownTopicOrPartition
}

// identify compares the log found with the log that the position belongs to.
func (f *finder) identify(id topicID) error {
	found := id.String()
	if f.id != "" && found != "" && f.id != found {
		return ErrRecreated
	}
	f.known = true
	if f.id == "" {
		f.id = found
	}
	return nil
}

// speak chooses the versions for the leader.
func (f *finder) speak(ctx context.Context, r *route) error {
	v, ok := f.speaks[r.leader]
	if !ok {
		var err error
		if v, err = f.cfg.askVersions(ctx, r.leader); err != nil {
			return fmt.Errorf("asking the leader %s: %w", r.address, err)
		}
		if f.speaks == nil {
			f.speaks = map[int32]versions{}
		}
		f.speaks[r.leader] = v
	}
	newest := int16(newestFetch)
	if r.id == (topicID{}) {
		newest = 12
	}
	var err, err2 error
	r.fetch, err = v.choose(keyFetch, 4, newest)
	r.list, err2 = v.choose(keyListOffsets, 2, newestList)
	return errors.Join(err, err2)
}

// forget drops what is known about a broker: it may have been replaced by one of another version.
func (f *finder) forget(broker int32) { delete(f.speaks, broker) }
