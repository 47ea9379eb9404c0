package fetch

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/records"
)

// Reader reads one partition from a start offset on. It owns one goroutine, from the first Read to Close, that fetches one
// response ahead.
//
// Read is called from one goroutine at a time; the other methods from any.
type Reader struct {
	cfg       Config
	topic     string
	partition int32

	dec     *records.Decoder // used by Read
	fetcher *fetcher
	watch   *watch
	epochs  *records.Epochs
	frame   []byte // the response that dec reads; used by Read
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

// NewReader returns a reader that begins at offset start. It makes no request before the first Read, which also returns
// the errors of cfg. Call Close in any case.
func NewReader(cfg Config, topic string, partition int32, start int64) *Reader {
	cfg = cfg.withDefaults()
	r := &Reader{
		cfg: cfg, topic: topic, partition: partition, final: cfg.validate(),
		watch: newWatch(topic, partition, cfg.StallTimeout), epochs: &records.Epochs{},
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	r.dec = records.NewDecoder(topic, partition, start, !cfg.Cluster.ReadUncommitted, r.epochs, cfg.Buffers)
	r.fetcher = &fetcher{
		cfg: &r.cfg, topic: topic, partition: partition, watch: r.watch,
		finder: metadata.NewFinder(cfg.Cluster, topic, partition, cfg.LogID, newestFetch),
		out:    make(chan *response),
		demand: newDemand(),
		pace:   newPace(cfg.MaxBytes),
		ask:    start, fetched: -1, damagedAt: -1, leader: -1, replica: -1,
	}
	r.watch.id.Store(&cfg.LogID)
	r.position.Store(start)
	cfg.Buffers.Join()
	return r
}

// Expect sets the leader epoch of the record below the start. If the log has lost that record (an unclean election chose
// a leader without it), Read returns an [*OutOfRangeError] instead of the records that replaced it. Call it before the
// first Read. Brokers before Kafka 2.7 do not detect the loss.
func (r *Reader) Expect(epoch int32) { r.fetcher.fetched = epoch }

// Read has the semantics of source.Partition.Fetch: it appends to b.Messages up to b.MaxMessages and b.MaxBytes, sets
// b.Next, and blocks until there is a message or the position has moved without one. It retries transient errors and
// logs them. When ctx ends it returns context.Cause(ctx) at once, and the next Read gets the response that was under way.
// Any other error is final, and the next Read returns it again: ErrClosed, *OutOfRangeError, *CorruptError, a wrong
// configuration, and of package cluster ErrTopicGone, ErrRecreated, ErrUnknownTopic and *PermissionError.
func (r *Reader) Read(ctx context.Context, b *source.Batch) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	b.Next = r.dec.Next()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	before := r.dec.Next()
	for {
		if r.dec.Empty() {
			if err := r.load(ctx); err != nil {
				return err
			}
		}
		err := r.dec.Fill(b)
		if r.dec.Empty() {
			r.dropFrame()
		}
		if err != nil {
			r.final = &CorruptError{Topic: r.topic, Partition: r.partition, Offset: r.dec.Next(), Intact: true, Err: err}
		}
		if len(b.Messages) > 0 || r.dec.Next() > before {
			b.Next = r.dec.Next()
			r.position.Store(r.dec.Next())
			return nil
		}
		if err != nil {
			return r.final
		}
	}
}

// load waits for the next response and gives it to dec.
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
		r.dec.Skip(res.start)
		r.dec.Load(res.set, res.aborted)
		r.frame = res.frame
		return nil
	case <-r.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start starts the fetcher with the first Read.
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

// Position returns the offset at which the next Read continues.
func (r *Reader) Position() int64 { return r.position.Load() }

// End returns the offset after the last record that can be read, as of the last response, and reports whether it is known.
// It is the last stable offset, or the high watermark with ReadUncommitted. It does not change while a response waits for
// Read, or while there is no room to fetch ahead and no Read waits. It is not known while fetches fail.
func (r *Reader) End() (int64, bool) {
	end := r.watch.end.Load()
	return end, end >= 0
}

// LogEnd is End for all records, also those that cannot be read before open transactions end: the high watermark.
func (r *Reader) LogEnd() (int64, bool) {
	end := r.watch.high.Load()
	return end, end >= 0
}

// LeaderEpoch returns the leader epoch of the last batch below frontier, or -1 if it is not known. Frontiers never go
// back from call to call.
func (r *Reader) LeaderEpoch(frontier int64) int32 { return r.epochs.Below(frontier) }

// EpochAt returns the leader epoch of the last batch below an offset that was read, or -1 if it is not known. The offset
// may lie anywhere.
func (r *Reader) EpochAt(offset int64) int32 { return r.epochs.At(offset) }

// LogID returns the identity of the log that is read, empty while it is not known or where brokers have none.
func (r *Reader) LogID() string { return *r.watch.id.Load() }

// Stalled reports whether the position has stayed below the high watermark for StallTimeout although requests were answered.
func (r *Reader) Stalled() bool { return r.watch.stalled() }

// Troubles returns what keeps the reader from reading now: fetches that fail, and the reason of a stall.
func (r *Reader) Troubles() []source.Trouble { return r.watch.troubles(r.position.Load()) }

// Close ends the reader and closes the connection of a request under way. It waits for the reader's goroutine and for a
// Read under way, which returns ErrClosed; it does not wait for the broker. Close may be called again.
func (r *Reader) Close() {
	r.mu.Lock()
	begun, again := r.cancel, r.closed
	r.closed = true
	r.mu.Unlock()
	if !again {
		close(r.done)
		r.cfg.Buffers.Leave()
	}
	if begun != nil {
		begun()
		<-r.stopped
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	r.dropFrame()
}

// dropFrame gives back the response that dec reads.
func (r *Reader) dropFrame() {
	r.dec.Drop()
	r.cfg.Buffers.Return(r.frame)
	r.frame = nil
}
