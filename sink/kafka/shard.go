package kafka

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/keystrand/keystrand"
)

type shardID struct {
	topic     string
	partition int32
}

// shard holds the messages of a Write for one partition. It sends a batch only when the previous one is durable.
type shard struct {
	shardID

	active bool // it has messages of the current Write
	leader int32
	queue  []int // indexes of the messages, in order
	head   int   // the messages before queue[head] are durable or have failed

	batch  []int // the batch in flight
	end    int   // the value of head when the batch is durable
	size   int   // upper bound of the bytes in the batch, before compression
	limit  int   // maximum number of messages in a batch while searching for a refused message; 0: no limit
	answer error // the result of the batch
	faulty []produce.ResponseError

	err error // the last transient error; nil after a durable batch

	ms     []keystrand.Message // of the current Write, as is values
	values map[int][]byte
}

func (s *shard) attrs() []slog.Attr {
	return []slog.Attr{slog.String("topic", s.topic), slog.Int64("partition", int64(s.partition)), slog.Int64("leader", int64(s.leader))}
}

func (s *shard) add(i int) { s.queue = append(s.queue, i) }

func (s *shard) pending() bool { return s.head < len(s.queue) }

func (s *shard) rest() []int { return s.queue[s.head:] }

func (s *shard) drop() { s.head = len(s.queue) }

// follow sets the leader from the latest metadata. The messages stay in the partition even if the topic has grown, because
// a key must not move within a Write.
func (s *shard) follow(t *topic) {
	s.leader = -1
	if int(s.partition) < len(t.leaders) {
		s.leader = t.leaders[s.partition]
	}
}

// fill chooses the next batch and reports whether there is one.
func (s *shard) fill(w *writer) bool {
	s.batch, s.end = s.batch[:0], s.head
	size := batchOverhead
	for ; s.end < len(s.queue); s.end++ {
		i := s.queue[s.end]
		if w.res.Failed(i) || w.res.Behind(i) {
			continue
		}
		_, n := recordSize(&w.ms[i], w.values[i])
		if len(s.batch) > 0 && (size+n > w.sink.cfg.MaxBatchBytes || len(s.batch) == s.limit) {
			break
		}
		size += n
		s.batch = append(s.batch, i)
	}
	if len(s.batch) == 0 {
		s.drop()
		return false
	}
	s.size = size
	s.ms, s.values = w.ms, w.values
	return true
}

// advance moves head behind the batch, which is durable.
func (s *shard) advance() { s.head, s.limit, s.err = s.end, 0, nil }

// narrow fails the messages that the broker named in its refusal. If it named none, narrow halves the batch to find one.
func (s *shard) narrow(w *writer, err error) {
	named := false
	for _, f := range s.faulty {
		if n := int(f.BatchIndex); n >= 0 && n < len(s.batch) {
			cause := err
			if f.BatchIndexErrorMessage != "" {
				cause = fmt.Errorf("%w: %s", err, f.BatchIndexErrorMessage)
			}
			w.res.Fail(s.batch[n], keystrand.Permanent(cause))
			named = true
		}
	}
	switch {
	case named:
	case len(s.batch) == 1:
		w.res.Fail(s.batch[0], keystrand.Permanent(err))
	default:
		s.limit = (len(s.batch) + 1) / 2
	}
}

func (s *shard) reset() {
	s.queue, s.batch, s.head, s.end, s.limit = s.queue[:0], s.batch[:0], 0, 0, 0
	s.answer, s.faulty, s.err, s.active = nil, nil, nil, false
	s.ms, s.values = nil, nil
}

func (s *shard) encode(b *batchBuffer, c kafka.Compression, now time.Time) error {
	return b.encode(s.ms, s.values, s.batch, c, now)
}
