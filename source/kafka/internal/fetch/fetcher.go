package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
)

// response is what the fetcher hands to the Reader.
type response struct {
	start   int64  // the position moves here first: OutOfRange has moved it
	set     []byte // whole batches with good checksums, in frame
	aborted []abortedTxn
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
	finder    finder
	watch     *watch

	out    chan *response // without room: at most one response waits here
	demand demand
	handed int64 // responses that Read has taken
	size   int   // bytes that the last response has occupied
	pace   pace

	route     *route
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

// replicaFor is how long a nearer replica is asked before the leader is asked for one again (KIP-392).
const replicaFor = 5 * time.Minute

func (f *fetcher) run(ctx context.Context) {
	faults, fast := newBackoff(), backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(f.cfg.MaxWait), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		reserved, ok := f.admit(ctx)
		if !ok {
			return
		}
		begun := time.Now()
		res, err := f.round(ctx)
		f.cfg.Buffers.unreserve(reserved)
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && Fatal(err):
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
				f.cfg.Buffers.frameBack(res.frame)
				return
			}
			if res.err != nil {
				return
			}
		}
		if wait > 0 && pause(ctx, wait) != nil {
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
	if n := max(f.size, f.asked); f.cfg.Buffers.reserve(n) {
		return n, true
	}
	return 0, f.demand.await(ctx, f.handed)
}

// hand waits until Read takes a response and reports whether it has.
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

// round makes one request. No response and no error: there is nothing new.
func (f *fetcher) round(ctx context.Context) (*response, error) {
	if f.route == nil || f.route.fetch < newestFetch && time.Since(f.route.found) > recheck {
		if err := f.find(ctx); err != nil {
			return nil, err
		}
	}
	f.asked = max(f.cfg.Buffers.request(f.pace.bytes), f.least)
	q := fetchRequest{
		version: f.route.fetch, topic: f.topic, id: f.route.id, partition: f.partition, epoch: f.route.epoch,
		offset: f.ask, fetched: f.fetched, committed: !f.cfg.ReadUncommitted, maxWaitMS: int32(f.cfg.MaxWait.Milliseconds()),
		maxBytes: int32(f.asked), rack: f.cfg.RackID,
	}
	x := &exchange{key: keyFetch, version: q.version, broker: f.target(), body: q.encode(), buffers: f.cfg.Buffers}
	if f.renew {
		f.renew = false
		_ = f.cfg.do(ctx, &exchange{key: keyVersions, broker: x.broker, renew: true}, f.cfg.RequestTimeout) // fails by intent
	}
	if err := f.cfg.do(ctx, x, f.cfg.MaxWait+f.cfg.RequestTimeout); err != nil {
		f.lose(x.broker)
		return nil, err
	}
	p, err := parseFetch(x.payload(), &q)
	if err != nil {
		x.drop()
		f.lose(x.broker)
		return nil, malformed("Fetch", err)
	}
	res, err := f.take(ctx, x, p)
	if res == nil || res.frame == nil {
		x.drop()
	}
	return res, err
}

func (f *fetcher) find(ctx context.Context) error {
	before := f.route
	f.route = nil
	r, err := f.finder.find(ctx)
	if err != nil {
		return err
	}
	if f.leader >= 0 && f.leader != r.leader {
		f.log(ctx, slog.LevelInfo, "the leader has moved", slog.Int("from", int(f.leader)), slog.Int("to", int(r.leader)),
			slog.String("address", r.address))
	}
	if before == nil || before.leader != r.leader {
		f.replica = -1
	}
	f.route, f.leader = r, r.leader
	f.watch.id.Store(new(f.finder.id))
	return nil
}

// target is the broker to ask.
func (f *fetcher) target() int32 {
	if f.replica >= 0 && time.Now().Before(f.until) {
		return f.replica
	}
	f.replica = -1
	return f.route.leader
}

// lose drops everything that was believed about a broker that does not answer as it should.
func (f *fetcher) lose(broker int32) {
	f.finder.forget(broker)
	f.route, f.replica = nil, -1
}

// take makes a response of what a broker has answered.
func (f *fetcher) take(ctx context.Context, x *exchange, p *fetchResponse) (*response, error) {
	if p.err != nil {
		return f.refused(ctx, x.broker, p.err)
	}
	end := p.highWatermark
	if !f.cfg.ReadUncommitted && p.stable >= 0 {
		end = p.stable
	}
	f.watch.end.Store(end)
	if p.replica >= 0 && p.replica != x.broker {
		f.replica, f.until = p.replica, time.Now().Add(replicaFor)
		return nil, nil //nolint:nilnil // nothing yet: that one is asked next
	}
	if p.cut >= 0 {
		return nil, f.cut(ctx, p.cut)
	}
	whole, next, epoch, err := scan(p.set, f.ask)
	if next > f.ask {
		res := &response{start: f.ask, set: whole, aborted: p.aborted, frame: x.response}
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
	onLeader := broker == f.route.leader
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
	first, err := f.bound(ctx, stampEarliest, false)
	if err != nil {
		return nil, err
	}
	last, err := f.bound(ctx, stampLatest, false)
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
		if to, err = f.bound(ctx, stampLatest, !f.cfg.ReadUncommitted); err != nil {
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
	first, err := f.bound(ctx, stampEarliest, false)
	if err != nil {
		return err
	}
	return &OutOfRangeError{Topic: f.topic, Partition: f.partition, Offset: f.ask, First: first, Last: at}
}

func (f *fetcher) bound(ctx context.Context, stamp int64, committed bool) (int64, error) {
	q := listRequest{
		version: f.route.list, topic: f.topic, committed: committed,
		stamps: map[int32]int64{f.partition: stamp}, epochs: map[int32]int32{f.partition: f.route.epoch},
	}
	found := map[int32]int64{}
	err := f.cfg.list(ctx, f.route.leader, &q, found)
	return found[f.partition], err
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
		f.log(ctx, slog.LevelWarn, "cannot read, trying on", slog.Any("brokers", f.cfg.Brokers), slog.Any("error", err))
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
	case errors.Is(err, ErrTopicGone), errors.Is(err, ErrRecreated), errors.Is(err, ErrUnknownTopic):
		return fmt.Errorf("%w: topic %s partition %d, position %d", err, f.topic, f.partition, f.ask)
	}
	return named(fmt.Errorf("partition %d offset %d: %w", f.partition, f.ask, err), f.topic)
}
