package fetch

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/source"
)

// Reader reads one partition from a start offset on. It owns one goroutine, from the first Read to Close, that keeps
// one response ahead.
//
// Read is called from one goroutine at a time; the other methods from any.
type Reader struct {
	cfg       Config
	topic     string
	partition int32

	dec     *decoder // used by Read
	fetcher *fetcher
	watch   *watch
	epochs  *epochs
	frame   []byte // what dec reads from; used by Read
	asked   bool   // the fetcher was asked for a response that has not come; used by Read
	final   error  // used by Read

	position atomic.Int64 // written by Read

	reading sync.Mutex // held by Read; Close gives back what Read used

	mu      sync.Mutex
	closed  bool
	cancel  context.CancelFunc // of the fetcher, nil before the first Read
	done    chan struct{}      // closed by Close
	stopped chan struct{}      // closed when the fetcher has ended
}

// NewReader returns a reader that begins at offset start. It makes no request before the first Read, which also
// returns what is wrong with cfg.
func NewReader(cfg Config, topic string, partition int32, start int64) *Reader {
	cfg = cfg.withDefaults()
	r := &Reader{
		cfg: cfg, topic: topic, partition: partition, final: cfg.validate(),
		watch: newWatch(topic, partition, cfg.StallTimeout), epochs: &epochs{},
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	r.dec = newDecoder(topic, partition, start, !cfg.ReadUncommitted, r.epochs, cfg.Buffers)
	r.fetcher = &fetcher{
		cfg: &r.cfg, topic: topic, partition: partition, watch: r.watch,
		finder: finder{cfg: &r.cfg, topic: topic, partition: partition, id: cfg.LogID},
		out:    make(chan *response),
		demand: newDemand(),
		pace:   newPace(cfg.MaxBytes),
		ask:    start, fetched: -1, damagedAt: -1, leader: -1, replica: -1,
	}
	r.watch.id.Store(&cfg.LogID)
	r.position.Store(start)
	cfg.Buffers.readers.Add(1)
	return r
}

// Expect says which leader epoch wrote the record below the start. If the log has lost that record since (an unclean
// election took a leader without it), Read returns an [*OutOfRangeError] instead of what stands there now. It is called
// before the first Read; brokers before Kafka 2.7 cannot tell.
func (r *Reader) Expect(epoch int32) { r.fetcher.fetched = epoch }

// Read has the semantics of source.Partition.Fetch: it appends to b.Messages up to b.MaxMessages and b.MaxBytes, sets
// b.Next, and blocks until there is a message or the position has moved without one. Faults that pass are healed
// inside and logged. When ctx ends it returns context.Cause(ctx) at once and loses nothing: a response that arrives
// later is used by the next Read. Any other error is final: ErrTopicGone, ErrRecreated, ErrUnknownTopic, ErrClosed,
// *OutOfRangeError, *CorruptError, *PermissionError, a configuration that is wrong; the next Read returns it again.
func (r *Reader) Read(ctx context.Context, b *source.Batch) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	b.Next = r.dec.next
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	before := r.dec.next
	for {
		if r.dec.empty() {
			if err := r.load(ctx); err != nil {
				return err
			}
		}
		err := r.dec.fill(b)
		if r.dec.empty() {
			r.dropFrame()
		}
		if err != nil {
			r.final = &CorruptError{Topic: r.topic, Partition: r.partition, Offset: r.dec.next, Err: err}
		}
		if len(b.Messages) > 0 || r.dec.next > before {
			b.Next = r.dec.next
			r.position.Store(r.dec.next)
			return nil
		}
		if err != nil {
			return r.final
		}
	}
}

// load takes the next response.
func (r *Reader) load(ctx context.Context) error {
	if !r.asked {
		r.asked = true
		r.fetcher.demand.ask()
	}
	select {
	case res := <-r.fetcher.out:
		r.asked = false
		if res.err != nil {
			r.final = res.err
			return res.err
		}
		r.dec.next = max(r.dec.next, res.start)
		r.dec.load(res.set, res.aborted)
		r.frame = res.frame
		return nil
	case <-r.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start begins the fetcher with the first Read.
func (r *Reader) start(ctx context.Context) error {
	if r.final != nil {
		return r.final
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case r.cancel == nil:
		ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx)) // it outlives this Read, until Close
		go func() {
			defer close(r.stopped)
			r.fetcher.run(ctx)
		}()
	}
	return nil
}

// Position returns the offset at which the next Read goes on.
func (r *Reader) Position() int64 { return r.position.Load() }

// End returns the offset after the last record that can be read now, as last heard, and whether it is known: the high
// watermark, or the last stable offset when reading committed records only. While a fetched response waits for Read,
// nothing new is heard.
func (r *Reader) End() (int64, bool) {
	end := r.watch.end.Load()
	return end, end >= 0
}

// LeaderEpoch returns the leader epoch of the last batch below frontier, or -1 if it is not known. Frontiers never go
// back from call to call.
func (r *Reader) LeaderEpoch(frontier int64) int32 { return r.epochs.below(frontier) }

// EpochAt returns the leader epoch of the last batch below an offset that was read, or -1 if it is not known. The offset
// may lie anywhere.
func (r *Reader) EpochAt(offset int64) int32 { return r.epochs.at(offset) }

// LogID returns the identity of the log that is read, empty while it is not known or where brokers have none.
func (r *Reader) LogID() string { return *r.watch.id.Load() }

// Stalled tells whether the position has stood below the end for StallTimeout although the reader has asked.
func (r *Reader) Stalled() bool { return r.watch.stalled() }

// Close ends the reader and gives up its request under way, with its connection. It waits for its goroutine, not for
// the broker. A Read under way returns ErrClosed. Close may be called again.
func (r *Reader) Close() {
	r.mu.Lock()
	begun, again := r.cancel, r.closed
	r.closed = true
	r.mu.Unlock()
	if !again {
		close(r.done)
		r.cfg.Buffers.readers.Add(-1)
	}
	if begun != nil {
		begun()
		<-r.stopped
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	r.dec.drop()
	r.dropFrame()
}

// dropFrame gives back the response that dec has read.
func (r *Reader) dropFrame() {
	r.dec.set = nil
	r.cfg.Buffers.frameBack(r.frame)
	r.frame = nil
}
