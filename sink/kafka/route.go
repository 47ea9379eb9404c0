package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/keystrand/keystrand"
)

// route requests missing metadata and assigns waiting messages to partitions. It reports whether there was no transient error.
func (w *writer) route(ctx context.Context) (healthy bool) {
	var ask []string
	for name := range w.unrouted {
		if t := w.sink.cluster.known(name, w.since); t != nil {
			w.spread(t)
			continue
		}
		ask = append(ask, name)
	}
	for _, s := range w.active {
		if !s.pending() {
			continue
		}
		if t := w.sink.cluster.known(s.topic, w.since); t != nil {
			s.follow(t)
		} else {
			ask = append(ask, s.topic)
		}
	}
	if len(ask) == 0 {
		return true
	}
	slices.Sort(ask)
	ask = slices.Compact(ask)
	good, bad, err := w.sink.cluster.ask(ctx, ask)
	if err != nil {
		return w.blame(ask, func(string) error { return err })
	}
	for _, t := range good {
		w.spread(t)
	}
	for _, s := range w.active {
		if t := good[s.topic]; t != nil {
			s.follow(t)
		}
	}
	names := make([]string, 0, len(bad))
	for name := range bad {
		names = append(names, name)
	}
	return w.blame(names, func(name string) error { return bad[name] })
}

// spread assigns the messages that wait for the metadata of t to partitions.
func (w *writer) spread(t *topic) {
	b := w.unrouted[t.name]
	if b == nil {
		return
	}
	delete(w.unrouted, t.name)
	for _, i := range b.batch {
		p, err := w.partition(t, w.ms[i].Key)
		if err != nil {
			w.res.Fail(i, keystrand.Permanent(err))
			continue
		}
		w.shardFor(t, p).add(i)
	}
}

// partition returns the partition for a key: among all partitions for a key that is not nil, else among those with a leader.
func (w *writer) partition(t *topic, key []byte) (int32, error) {
	if key != nil {
		p := w.sink.cfg.Partitioner(key, len(t.leaders))
		if p < 0 || p >= len(t.leaders) {
			return 0, fmt.Errorf("kafka: Config.Partitioner returned partition %d, but topic %s has %d partitions", p, t.name, len(t.leaders))
		}
		return int32(p), nil
	}
	w.turn++
	if n := len(t.available); n > 0 {
		return t.available[w.turn%n], nil
	}
	return int32(w.turn % len(t.leaders)), nil
}

func (w *writer) shardFor(t *topic, p int32) *shard {
	id := shardID{t.name, p}
	s := w.shards[id]
	if s == nil {
		s = &shard{shardID: id}
		w.shards[id] = s
	}
	if !s.active {
		s.active = true
		w.active = append(w.active, s)
	}
	s.follow(t)
	return s
}

// blame records why the metadata of topics is missing. It fails their messages unless the error is transient. It reports
// whether no error is transient.
func (w *writer) blame(names []string, cause func(string) error) (healthy bool) {
	healthy = true
	for _, name := range names {
		err := cause(name)
		c := cureFor(err)
		if b := w.unrouted[name]; b != nil {
			w.waits.Set(describe(&w.sink.cfg, name, -1, err))
			b.err = describe(&w.sink.cfg, name, -1, err)
			if c != heal {
				delete(w.unrouted, name)
				w.failAll(b.batch, b.err, c)
			}
		}
		for _, s := range w.active {
			if s.topic == name && s.pending() {
				w.waits.Set(describe(&w.sink.cfg, name, s.partition, err))
				s.err = describe(&w.sink.cfg, name, s.partition, err)
				if c != heal {
					w.failAll(s.rest(), s.err, c)
					s.drop()
				}
			}
		}
		if c == heal {
			healthy = false
		}
	}
	return healthy
}

// divertKeyless moves messages without a key, which have no order, from s to partitions that have a leader.
func (w *writer) divertKeyless(s *shard) {
	t := w.sink.cluster.known(s.topic, w.since)
	if t == nil || len(t.available) == 0 {
		return
	}
	keyed := s.rest()[:0]
	for _, i := range s.rest() {
		if w.ms[i].Key != nil {
			keyed = append(keyed, i)
			continue
		}
		w.turn++
		w.shardFor(t, t.available[w.turn%len(t.available)]).add(i)
	}
	s.queue = s.queue[:s.head+len(keyed)]
}
