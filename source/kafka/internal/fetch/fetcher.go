package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/records"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// response is what the fetcher hands to the Reader.
type response struct {
	start   int64  // the position moves here first: OutOfRange has moved it
	set     []byte // whole batches with good checksums, in frame
	aborted []records.Aborted
	frame   []byte
	err     error // final; everything else is empty
}

// fetcher asks for one partition and stays one response ahead of its Reader: while the Reader turns one into messages
// the next is under way or waits. It runs on one goroutine of its own, so that a Read whose ctx ends leaves the request
// alone and the next Read takes what has come.
type fetcher struct {
	cfg       *Config
	topic     string
	partition int32
	finder    *cluster.Finder
	watch     *watch

	out  chan *response // without room: at most one response waits here
	pace pace

	route     *cluster.Route
	leader    int32     // of the last route, -1 before
	ask       int64     // where the next request begins
	fetched   int32     // leader epoch of what was fetched last, -1 if not known
	asked     int       // bytes asked for last
	least     int       // bytes to ask for whatever the pace is, for a partition that makes no progress
	damagedAt int64     // where a batch was damaged, to be asked for once more; -1 for none
	replica   int32     // a nearer one to ask, -1 for the leader
	until     time.Time // how long it is asked
	renew     bool      // give the connection up before the next request

	failures int       // in a row
	failed   time.Time // since when
}

// recheck is how often the topic's id is compared where fetch requests go by name (Kafka before 3.1).
const recheck = 3 * time.Second

// replicaFor is how long a nearer replica is asked before the leader is asked for one again (KIP-392).
const replicaFor = 5 * time.Minute

func (f *fetcher) run(ctx context.Context) {
	faults, fast := cluster.NewBackoff(), backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(f.cfg.MaxWait), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		begun := time.Now()
		res, err := f.round(ctx)
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && final(err):
			res = &response{err: f.describe(err)}
		case err != nil:
			f.trouble(ctx, err)
			wait = faults.NextBackOff()
		default:
			f.healed(ctx)
			faults.Reset()
			if res == nil && time.Since(begun) < f.cfg.MaxWait/2 { // a broker that does not hold requests back
				wait = fast.NextBackOff()
			} else {
				fast.Reset()
			}
		}
		if f.watch.check(ctx, f.cfg.Log, f.ask) { // before the hand-over, where a caller may let it wait
			f.shake()
		}
		if res != nil {
			if !f.hand(ctx, res) {
				f.cfg.Buffers.Return(res.frame)
				return
			}
			if res.err != nil {
				return
			}
		}
		if wait > 0 && cluster.Pause(ctx, wait) != nil {
			return
		}
	}
}

// hand waits until Read takes a response and reports whether it has.
func (f *fetcher) hand(ctx context.Context, res *response) bool {
	begun := time.Now()
	select {
	case f.out <- res:
	case <-ctx.Done():
		return false
	}
	f.pace.waited(time.Since(begun), len(res.set))
	return true
}

// round makes one request. No response and no error: there is nothing new.
func (f *fetcher) round(ctx context.Context) (*response, error) {
	if f.route == nil || f.route.Fetch < newestFetch && time.Since(f.route.Found) > recheck {
		if err := f.find(ctx); err != nil {
			return nil, err
		}
	}
	f.asked = max(f.cfg.Buffers.Share(f.pace.bytes), f.least)
	q := fetchRequest{
		version: f.route.Fetch, topic: f.topic, id: f.route.ID, partition: f.partition, epoch: f.route.Epoch,
		offset: f.ask, fetched: f.fetched, committed: !f.cfg.Cluster.ReadUncommitted, maxWaitMS: int32(f.cfg.MaxWait.Milliseconds()),
		maxBytes: int32(f.asked), rack: f.cfg.RackID,
	}
	x := &wire.Exchange{Key: wire.KeyFetch, Version: q.version, Broker: f.target(), Body: q.encode(), Buffers: f.cfg.Buffers}
	if f.renew {
		f.renew = false
		_ = f.cfg.Cluster.Do(ctx, &wire.Exchange{Key: wire.KeyVersions, Broker: x.Broker, Renew: true}, 0) // fails by intent
	}
	if err := f.cfg.Cluster.Do(ctx, x, f.cfg.MaxWait); err != nil {
		f.lose(x.Broker)
		return nil, err
	}
	p, err := parseFetch(x.Payload(), &q)
	if err != nil {
		x.Return()
		f.lose(x.Broker)
		return nil, wire.Malformed("Fetch", err)
	}
	res, err := f.take(ctx, x, p)
	if res == nil || res.frame == nil {
		x.Return()
	}
	return res, err
}

func (f *fetcher) find(ctx context.Context) error {
	before := f.route
	f.route = nil
	r, err := f.finder.Find(ctx)
	if err != nil {
		return err
	}
	if f.leader >= 0 && f.leader != r.Leader {
		f.log(ctx, slog.LevelInfo, "the leader has moved", slog.Int("from", int(f.leader)), slog.Int("to", int(r.Leader)),
			slog.String("address", r.Address))
	}
	if before == nil || before.Leader != r.Leader {
		f.replica = -1
	}
	f.route, f.leader = r, r.Leader
	f.watch.id.Store(new(f.finder.LogID()))
	return nil
}

// target is the broker to ask.
func (f *fetcher) target() int32 {
	if f.replica >= 0 && time.Now().Before(f.until) {
		return f.replica
	}
	f.replica = -1
	return f.route.Leader
}

// lose drops everything that was believed about a broker that does not answer as it should.
func (f *fetcher) lose(broker int32) {
	f.finder.Forget(broker)
	f.route, f.replica = nil, -1
}

// take makes a response of what a broker has answered.
func (f *fetcher) take(ctx context.Context, x *wire.Exchange, p *fetchResponse) (*response, error) {
	if p.err != nil {
		return f.refused(ctx, x.Broker, p.err)
	}
	end := p.highWatermark
	if !f.cfg.Cluster.ReadUncommitted && p.stable >= 0 {
		end = p.stable
	}
	f.watch.end.Store(end)
	if p.replica >= 0 && p.replica != x.Broker {
		f.replica, f.until = p.replica, time.Now().Add(replicaFor)
		return nil, nil //nolint:nilnil // nothing yet: that one is asked next
	}
	if p.cut >= 0 {
		return nil, f.cut(ctx, p.cut)
	}
	whole, next, epoch, err := records.Scan(p.set, f.ask)
	if next > f.ask {
		res := &response{start: f.ask, set: whole, aborted: p.aborted, frame: x.Frame()}
		f.ask, f.fetched, f.least, f.damagedAt = next, epoch, 0, -1
		return res, nil
	}
	switch {
	case err != nil:
		return nil, f.damaged(err)
	case len(p.set) == 0:
		return nil, nil //nolint:nilnil // nothing new is neither
	case f.asked < MostBytes: // only brokers before KIP-74 cut the first batch; the next one is asked for as a whole
		f.least = min(2*max(f.asked, f.cfg.MaxBytes), MostBytes)
		return nil, nil //nolint:nilnil // nothing yet
	}
	return nil, f.corrupt(fmt.Errorf("%d bytes hold no whole batch", len(p.set)))
}

// damaged asks for a batch once more before it counts as corrupt: what was damaged on the way comes well again.
func (f *fetcher) damaged(err error) error {
	if f.damagedAt == f.ask {
		return f.corrupt(err)
	}
	f.damagedAt, f.renew = f.ask, true
	return fmt.Errorf("damaged data at offset %d: %w", f.ask, err)
}

func (f *fetcher) corrupt(err error) error {
	return &CorruptError{Topic: f.topic, Partition: f.partition, Offset: f.ask, Err: err}
}

// refused decides about an error that a broker has answered with.
func (f *fetcher) refused(ctx context.Context, broker int32, err error) (*response, error) {
	onLeader := broker == f.route.Leader
	f.replica = -1 // whatever it is, the leader knows better
	switch {
	case errors.Is(err, kafka.OffsetOutOfRange):
		if !onLeader {
			return nil, err // a follower may be behind, or ahead in what it has deleted
		}
		return f.outside(ctx)
	case errors.Is(err, kafka.InvalidMessage): // the broker has found its own copy damaged
		return nil, f.damaged(err)
	case errors.Is(err, kafka.UnsupportedCompressionType): // it will not send this codec
		return nil, f.corrupt(err)
	}
	f.route = nil // not the leader, not the log, not ready: look again, also for the topic's id
	return nil, err
}

// outside handles a position that is not in the log: another log, or one that has lost a part.
func (f *fetcher) outside(ctx context.Context) (*response, error) {
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	first, err := f.finder.Offset(ctx, f.route, cluster.Query{}, false)
	if err != nil {
		return nil, err
	}
	last, err := f.finder.Offset(ctx, f.route, cluster.Query{Latest: true}, false)
	if err != nil {
		return nil, err
	}
	if first <= f.ask && f.ask <= last {
		f.fetched = -1 // a broker says so too when it has deleted all records of that epoch
		return nil, fmt.Errorf("a broker refused offset %d and then said that it has %d to %d: %w", f.ask, first, last, kafka.OffsetOutOfRange)
	}
	to := int64(-1)
	switch f.cfg.OutOfRange {
	case Earliest:
		to = first
	case Latest:
		if to, err = f.finder.Offset(ctx, f.route, cluster.Query{Latest: true}, !f.cfg.Cluster.ReadUncommitted); err != nil {
			return nil, err
		}
	case Fail:
	}
	if to < f.ask { // a position does not go back: what is counted by it would be counted twice
		return nil, &OutOfRangeError{Topic: f.topic, Partition: f.partition, Offset: f.ask, First: first, Last: last}
	}
	f.log(ctx, slog.LevelWarn, "the position was out of range and is set anew",
		slog.Int64("from", f.ask), slog.Int64("to", to), slog.Int64("first", first), slog.Int64("last", last))
	if f.cfg.OnReset != nil {
		f.cfg.OnReset(f.ask, to)
	}
	f.ask, f.fetched = to, -1
	return &response{start: to}, nil
}

// cut handles a log whose history is another one from an offset below the position on: an unclean election took a
// leader without the records that were read. Whatever stands there now would be skipped by reading on.
func (f *fetcher) cut(ctx context.Context, at int64) error {
	first, err := f.finder.Offset(ctx, f.route, cluster.Query{}, false)
	if err != nil {
		return err
	}
	return &OutOfRangeError{Topic: f.topic, Partition: f.partition, Offset: f.ask, First: first, Last: at}
}

// shake tries what may help a partition that stands still: new connection, new route, larger responses.
func (f *fetcher) shake() {
	f.route, f.replica, f.renew = nil, -1, true
	f.least = min(2*max(f.asked, f.cfg.MaxBytes), MostBytes)
}

// trouble tells once that reading has stopped: a single failure is part of a leader's move.
func (f *fetcher) trouble(ctx context.Context, err error) {
	f.failures++
	switch f.failures {
	case 1:
		f.failed = time.Now()
	case 2:
		f.log(ctx, slog.LevelWarn, "cannot read, trying on", slog.Any("brokers", f.cfg.Cluster.Brokers), slog.Any("error", err))
	}
}

func (f *fetcher) healed(ctx context.Context) {
	if f.failures > 1 {
		f.log(ctx, slog.LevelInfo, "reading again", slog.Int("attempts", f.failures), slog.Duration("after", time.Since(f.failed)))
	}
	f.failures = 0
}

func (f *fetcher) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("topic", f.topic), slog.Int("partition", int(f.partition)), slog.Int64("offset", f.ask))
	f.cfg.Log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // all messages are constants of this file
}

// describe adds the place to a final error that does not have it.
func (f *fetcher) describe(err error) error {
	var outside *OutOfRangeError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &outside), errors.As(err, &corrupt):
		return err
	case errors.Is(err, cluster.ErrTopicGone), errors.Is(err, cluster.ErrRecreated), errors.Is(err, cluster.ErrUnknownTopic):
		return fmt.Errorf("%w: topic %s partition %d, position %d", err, f.topic, f.partition, f.ask)
	}
	return cluster.Named(fmt.Errorf("partition %d offset %d: %w", f.partition, f.ask, err), f.topic)
}
