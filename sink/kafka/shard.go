package kafka

import (
	"fmt"
	"log/slog"

	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/keystrand/keystrand"
)

type shardID struct {
	topic     string
	partition int32
}

// shard is one partition's part of a Write. Nothing leaves it behind a batch that is not durable.
type shard struct {
	shardID

	active bool // it has messages of the Write that runs
	leader int32
	queue  []int // messages in order
	head   int   // before it all are durable or have failed

	batch  []int // what is on its way now
	end    int   // head once that is durable
	size   int   // most bytes of the batch, before compression
	limit  int   // most messages of a batch while a culprit is searched; 0 for no bound
	answer error // to the batch
	faulty []produce.ResponseError

	err     error // the last trouble, nil when the last batch was durable
	records records
}

func (s *shard) attrs() []slog.Attr {
	return []slog.Attr{slog.String("topic", s.topic), slog.Int64("partition", int64(s.partition)), slog.Int64("leader", int64(s.leader))}
}

func (s *shard) add(i int) { s.queue = append(s.queue, i) }

func (s *shard) pending() bool { return s.head < len(s.queue) }

func (s *shard) rest() []int { return s.queue[s.head:] }

func (s *shard) drop() { s.head = len(s.queue) }

// follow takes the leader from the newest view of the topic. The partition stays even if the topic has grown since:
// within a Write a key must not move.
func (s *shard) follow(t *topic) {
	s.leader = -1
	if int(s.partition) < len(t.leaders) {
		s.leader = t.leaders[s.partition]
	}
}

// fill chooses the next batch and returns false if there is none.
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
	s.records.rewind(w.ms, w.values, s.batch)
	return true
}

// advance goes behind the batch, which is durable.
func (s *shard) advance() { s.head, s.limit, s.err = s.end, 0, nil }

// narrow finds the message for which the broker refused the batch, by what the broker says or by halving.
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
	s.records.rewind(nil, nil, nil)
}
