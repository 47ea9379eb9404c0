package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/records"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// response is a fetch response that the fetcher passes to the Reader.
type response struct {
	start   int64  // the position moves here first; differs where OutOfRange has moved it
	set     []byte // whole batches with good checksums, in frame
	aborted []records.Aborted
	frame   []byte
	err     error // final; all other fields are empty
}

// fetcher requests one partition and stays one response ahead of its Reader. It runs on a goroutine of its own: when the
// ctx of a Read ends, the request continues, and the next Read gets its response.
type fetcher struct {
	cfg       *Config
	topic     string
	partition int32
	finder    *metadata.Finder
	watch     *watch

	out    chan *response // without room: at most one response waits here
	demand demand
	handed int64 // responses that Read has taken
	size   int   // bytes that the last response has occupied
	pace   pace

	route     *metadata.Route
	leader    int32     // of the last route, -1 before
	ask       int64     // where the next request begins
	fetched   int32     // leader epoch of what was fetched last, -1 if not known
	asked     int       // bytes asked for last
	least     int       // bytes to ask for whatever the pace is, for a partition that makes no progress
	damagedAt int64     // offset of a damaged batch that is requested once more; -1 for none
	replica   int32     // a nearer one to ask, -1 for the leader
	until     time.Time // how long it is asked
	renew     bool      // close the connection before the next request

	failures  int       // in a row
	failed    time.Time // since when
	throttled bool      // the broker asked to wait in the last response
}

// recheck is how often the topic's id is compared where fetch requests go by name (Kafka before 3.1).
const recheck = 3 * time.Second

// replicaFor is how long a nearer replica is asked before the leader is asked for one again (KIP-392).
const replicaFor = 5 * time.Minute

func (f *fetcher) run(ctx context.Context) {
	defer f.cfg.Faults.forget(f)
	faults, fast := metadata.NewBackoff(), backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(f.cfg.MaxWait), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		if f.route != nil && f.cfg.Quota.pause(ctx, f.target()) != nil {
			return
		}
		reserved, ok := f.admit(ctx)
		if !ok {
			return
		}
		begun := time.Now()
		f.throttled = false
		res, err := f.round(ctx)
		f.cfg.Buffers.Unreserve(reserved)
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			if res != nil { // it arrived as Close was called
				f.cfg.Buffers.Return(res.frame)
			}
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
		switch { // before the hand-over, where a caller may let it wait
		case err == nil && f.throttled:
			f.watch.throttled(ctx, f.cfg.Log, f.ask)
		case err == nil && f.watch.check(ctx, f.cfg.Log, f.ask):
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
		if wait > 0 && pause.For(ctx, wait) != nil {
			return
		}
	}
}

// admit waits until there is room to fetch ahead, which it reserves, or Read waits for a response, which needs none. It
// reports false if ctx ends first.
func (f *fetcher) admit(ctx context.Context) (reserved int, ok bool) {
	if f.demand.exceeds(f.handed) {
		return 0, true
	}
	if n := max(f.size, f.asked); f.cfg.Buffers.Reserve(n) {
		return n, true
	}
	f.watch.rest()
	return 0, f.demand.await(ctx, f.handed)
}

// hand waits until Read receives a response and reports whether it has.
func (f *fetcher) hand(ctx context.Context, res *response) bool {
	begun := time.Now()
	f.size = cap(res.frame)
	select {
	case f.out <- res:
	case <-ctx.Done():
		return false
	}
	f.handed++
	f.pace.waited(time.Since(begun), len(res.set))
	return true
}

// round makes one request. It returns neither a response nor an error if there is nothing new.
func (f *fetcher) round(ctx context.Context) (*response, error) {
	if f.route == nil || f.route.Fetch < newestFetch && time.Since(f.route.Found) > recheck {
		if err := f.find(ctx); err != nil {
			return nil, err
		}
		if err := f.cfg.Quota.pause(ctx, f.target()); err != nil {
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
		f.log(ctx, slog.LevelInfo, "kafka: leader moved", slog.Int("from", int(f.leader)), slog.Int("to", int(r.Leader)),
			slog.String("address", r.Address))
	}
	if before == nil || before.Leader != r.Leader {
		f.replica = -1
	}
	f.route, f.leader = r, r.Leader
	f.watch.id.Store(new(f.finder.LogID()))
	return nil
}

// target returns the broker to ask.
func (f *fetcher) target() int32 {
	if f.replica >= 0 && time.Now().Before(f.until) {
		return f.replica
	}
	f.replica = -1
	return f.route.Leader
}

// lose forgets a broker whose response failed: its versions, the route and the replica.
func (f *fetcher) lose(broker int32) {
	f.finder.Forget(broker)
	f.route, f.replica = nil, -1
}

// take turns a broker's answer into a response.
func (f *fetcher) take(ctx context.Context, x *wire.Exchange, p *fetchResponse) (*response, error) {
	if p.throttle > 0 {
		f.throttled = x.Version >= 8 // brokers delay the response to an older one (KIP-219)
		f.cfg.Quota.throttled(ctx, f.cfg.Log, f.cfg.Cluster.Transport.ClientID, x.Broker, p.throttle, f.throttled)
	}
	switch {
	case p.err != nil:
		return f.refused(ctx, x.Broker, p.err)
	case p.absent:
		f.watch.miss()
		return nil, nil //nolint:nilnil // nothing yet
	}
	end := p.highWatermark
	if !f.cfg.Cluster.ReadUncommitted && p.stable >= 0 {
		end = p.stable
	}
	f.watch.see(end, p.highWatermark)
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
	case f.asked < MostBytes: // a broker before KIP-74 cuts the first batch: request all of it
		f.least = min(2*max(f.asked, f.cfg.MaxBytes), MostBytes)
		return nil, nil //nolint:nilnil // nothing yet
	}
	return nil, f.corrupt(fmt.Errorf("response of %d bytes has no complete batch", len(p.set)))
}

// damaged retries a batch once before it counts as corrupt: the network may have damaged it.
func (f *fetcher) damaged(err error) error {
	if f.damagedAt == f.ask {
		return f.corrupt(err)
	}
	f.damagedAt, f.renew = f.ask, true
	return fmt.Errorf("corrupt data at offset %d: %w", f.ask, err)
}

func (f *fetcher) corrupt(err error) error {
	return &CorruptError{Topic: f.topic, Partition: f.partition, Offset: f.ask, Err: err}
}

// refused handles an error code in a response.
func (f *fetcher) refused(ctx context.Context, broker int32, err error) (*response, error) {
	onLeader := broker == f.route.Leader
	f.replica = -1 // ask the leader next
	switch {
	case errors.Is(err, kafka.OffsetOutOfRange):
		if !onLeader {
			return nil, err // a follower may be behind, or may have deleted more
		}
		return f.outside(ctx)
	case errors.Is(err, kafka.InvalidMessage): // the broker's copy is damaged
		return nil, f.damaged(err)
	case errors.Is(err, kafka.UnsupportedCompressionType): // it will not send this codec
		return nil, f.corrupt(err)
	}
	f.route = nil // another leader, another log, or not ready: find the route again
	return nil, err
}

// outside handles a position that is not in the log. The log is another one, or has lost a part.
func (f *fetcher) outside(ctx context.Context) (*response, error) {
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	first, err := f.finder.Offset(ctx, f.route, metadata.Query{}, false)
	if err != nil {
		return nil, err
	}
	last, err := f.finder.Offset(ctx, f.route, metadata.Query{Latest: true}, false)
	if err != nil {
		return nil, err
	}
	if first <= f.ask && f.ask <= last {
		f.fetched = -1 // a broker that has deleted all records of that epoch refuses it too
		return nil, fmt.Errorf("broker refused offset %d, which is between its first %d and last %d: %w", f.ask, first, last, kafka.OffsetOutOfRange)
	}
	to := int64(-1)
	switch f.cfg.OutOfRange {
	case Earliest:
		to = first
	case Latest:
		if to, err = f.finder.Offset(ctx, f.route, metadata.Query{Latest: true}, !f.cfg.Cluster.ReadUncommitted); err != nil {
			return nil, err
		}
	case Fail:
	}
	if to < f.ask { // a position never goes back
		return nil, &OutOfRangeError{Topic: f.topic, Partition: f.partition, Offset: f.ask, First: first, Last: last}
	}
	f.log(ctx, slog.LevelWarn, "kafka: position out of range; moved",
		slog.Int64("from", f.ask), slog.Int64("to", to), slog.Int64("first", first), slog.Int64("last", last))
	if f.cfg.OnReset != nil {
		f.cfg.OnReset(f.ask, to)
	}
	f.ask, f.fetched = to, -1
	return &response{start: to}, nil
}

// cut handles a log that an unclean election cut below the position: the new leader lacks some of the records that were
// read. Reading on would skip the records that replaced them.
func (f *fetcher) cut(ctx context.Context, at int64) error {
	first, err := f.finder.Offset(ctx, f.route, metadata.Query{}, false)
	if err != nil {
		return err
	}
	return &OutOfRangeError{Topic: f.topic, Partition: f.partition, Offset: f.ask, First: first, Last: at}
}

// shake renews the connection and the route of a stalled partition, and requests larger responses.
func (f *fetcher) shake() {
	f.route, f.replica, f.renew = nil, -1, true
	f.least = min(2*max(f.asked, f.cfg.MaxBytes), MostBytes)
}

// trouble reports the second failure in a row: a single one is part of a leader's move.
func (f *fetcher) trouble(ctx context.Context, err error) {
	f.failures++
	if f.failures == 1 {
		f.failed = time.Now()
		return
	}
	if f.failures == 2 {
		f.watch.forget()
		f.watch.rest()
	}
	f.cfg.Faults.fails(ctx, f, err)
	f.watch.fault.Store(&source.Trouble{What: "fetch", Since: f.failed, Err: fmt.Errorf("topic %s partition %d: %w", f.topic, f.partition, err)})
}

func (f *fetcher) healed(ctx context.Context) {
	f.cfg.Quota.ended(ctx, f.cfg.Log)
	if f.failures == 0 {
		return
	}
	if f.failures > 1 {
		f.cfg.Faults.works(ctx, f)
	}
	f.failures = 0
	f.watch.fault.Store(nil)
}

func (f *fetcher) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("stream", f.topic), slog.Int("partition", int(f.partition)), slog.Int64("offset", f.ask))
	f.cfg.Log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // all messages are constants of this file
}

// describe adds topic, partition and offset to a final error that lacks them.
func (f *fetcher) describe(err error) error {
	var outside *OutOfRangeError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &outside), errors.As(err, &corrupt):
		return err
	case errors.Is(err, metadata.ErrTopicGone), errors.Is(err, metadata.ErrRecreated), errors.Is(err, metadata.ErrUnknownTopic):
		return fmt.Errorf("%w: topic %s partition %d, position %d", err, f.topic, f.partition, f.ask)
	}
	return metadata.Named(fmt.Errorf("partition %d offset %d: %w", f.partition, f.ask, err), f.topic)
}
