package kafka

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// request is one produce request: batches for partitions led by one broker.
type request struct {
	leader int32
	shards []*shard
	size   int // upper bound of the bytes in the batches

	buffers []*batchBuffer // of the batches in flight
}

// maxRequestBytes bounds a request. A broker disconnects without an error when a request is larger than its
// socket.request.max.bytes, 100 MiB by default.
const maxRequestBytes = 32 << 20

// add adds the batch of s to the request. If the request is full, the batch waits for the next round.
func (q *request) add(s *shard) {
	if len(q.shards) > 0 && q.size+s.size > maxRequestBytes {
		return
	}
	q.shards = append(q.shards, s)
	q.size += s.size
}

// send sends the request and sets the answer of each shard.
func (q *request) send(ctx context.Context, w *writer) {
	s := w.sink
	req, err := q.build(s)
	defer q.release(s)
	if err == nil {
		err = s.throttle.wait(ctx, q.leader)
	}
	w.waits.Sending(q.leader)
	defer w.waits.Answered(q.leader)
	var res protocol.Message
	if err == nil {
		res, err = s.cluster.roundTrip(ctx, q.leader, req)
	}
	if err == nil {
		answer, ok := res.(*produce.Response)
		if ok {
			s.throttle.answered(ctx, &s.cfg, q.leader, time.Duration(answer.ThrottleTimeMs)*time.Millisecond)
			q.read(answer)
			return
		}
		err = fmt.Errorf("unexpected response %T", res)
	}
	for _, sh := range q.shards {
		sh.answer, sh.faulty = fmt.Errorf("broker %d: %w", q.leader, err), nil
	}
}

func (q *request) build(s *Sink) (*rawproduce.Request, error) {
	r := &rawproduce.Request{
		Acks:    -1, // all in-sync replicas
		Timeout: int32(min(s.cfg.RequestTimeout/4*3/time.Millisecond, math.MaxInt32)),
	}
	now := time.Now()
	for _, sh := range q.shards {
		n := slices.IndexFunc(r.Topics, func(t rawproduce.RequestTopic) bool { return t.Topic == sh.topic })
		if n < 0 {
			n = len(r.Topics)
			r.Topics = append(r.Topics, rawproduce.RequestTopic{Topic: sh.topic})
		}
		b, _ := s.buffers.Get().(*batchBuffer)
		if b == nil {
			b = &batchBuffer{}
		}
		q.buffers = append(q.buffers, b)
		if err := sh.encode(b, s.cfg.Compression, now); err != nil {
			return nil, err
		}
		t := &r.Topics[n]
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: sh.partition,
			RecordSet: protocol.RawRecordSet{Reader: &b.reader},
		})
	}
	return r, nil
}

// release gives the buffers back, which the round trip no longer reads.
func (q *request) release(s *Sink) {
	for _, b := range q.buffers {
		b.release()
		s.buffers.Put(b)
	}
	q.buffers = nil
}

func (q *request) read(res *produce.Response) {
	for _, sh := range q.shards {
		sh.answer, sh.faulty = fmt.Errorf("response of broker %d does not contain the partition", q.leader), nil
	}
	for i := range res.Topics {
		t := &res.Topics[i]
		for j := range t.Partitions {
			q.readPartition(t.Topic, &t.Partitions[j])
		}
	}
}

func (q *request) readPartition(topic string, p *produce.ResponsePartition) {
	for _, sh := range q.shards {
		if sh.topic != topic || sh.partition != p.Partition {
			continue
		}
		sh.faulty = p.RecordErrors
		switch {
		case p.ErrorCode == 0:
			sh.answer = nil
		case p.ErrorMessage != "":
			sh.answer = fmt.Errorf("%w (%s)", kafka.Error(p.ErrorCode), p.ErrorMessage)
		default:
			sh.answer = kafka.Error(p.ErrorCode)
		}
	}
}
