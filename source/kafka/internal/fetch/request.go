package fetch

import (
	"cmp"

	"github.com/segmentio/kafka-go"
)

// fetchRequest asks one broker for one partition.
type fetchRequest struct {
	version   int16
	topic     string
	id        topicID // instead of the name from version 13 on
	partition int32
	epoch     int32 // of the leader as we know it; -1 asks any
	offset    int64
	fetched   int32 // epoch of the batch below offset, -1 if not known: the broker compares it with its own history
	committed bool
	maxWaitMS int32
	maxBytes  int32
	rack      string
}

// newestFetch is the newest version written here. From 13 on topics go by id, so that a topic made again cannot be
// read under the old one's name (KIP-516).
const newestFetch = 13

func (q *fetchRequest) encode() []byte {
	w := writer{flexible: flexibleVersion(keyFetch, q.version)}
	w.i32(-1) // a consumer, no replica
	w.i32(q.maxWaitMS)
	w.i32(1) // the least bytes
	w.i32(q.maxBytes)
	w.bool(q.committed)
	if q.version >= 7 { // no fetch session (KIP-227): one partition a request has nothing to save
		w.i32(0)
		w.i32(-1)
	}
	w.length(1)
	if q.version >= 13 {
		w.b = append(w.b, q.id[:]...)
	} else {
		w.string(q.topic)
	}
	w.length(1)
	w.i32(q.partition)
	if q.version >= 9 {
		w.i32(q.epoch)
	}
	w.i64(q.offset)
	if q.version >= 12 {
		w.i32(q.fetched)
	}
	if q.version >= 5 {
		w.i64(-1) // start of a follower's log
	}
	w.i32(q.maxBytes)
	w.tags()
	w.tags()
	if q.version >= 7 {
		w.length(0) // topics to forget
	}
	if q.version >= 11 {
		w.string(q.rack)
	}
	w.tags()
	return w.b
}

// fetchResponse is what a broker says about the partition. Its records are still in the frame that they came in.
type fetchResponse struct {
	err                   error // kafka.Error, nil if there is none
	highWatermark, stable int64 // stable: the last stable offset, -1 if not known
	aborted               []abortedTxn
	replica               int32 // the nearer replica to ask instead, -1 for none
	set                   []byte
	cut                   int64 // where the broker's history leaves ours (KIP-595), -1 if it does not
}

func parseFetch(r reader, q *fetchRequest) (*fetchResponse, error) {
	p := &fetchResponse{highWatermark: -1, stable: -1, replica: -1, cut: -1}
	r.i32() // throttled
	if q.version >= 7 {
		if err := codeError(r.i16()); err != nil {
			p.err = err
		}
		r.i32() // session
	}
	found := false
	for n := r.length(); n > 0 && r.err == nil; n-- {
		if q.version >= 13 {
			r.take(16)
		} else {
			r.string()
		}
		for n := r.length(); n > 0 && r.err == nil; n-- {
			number := r.i32()
			one := parseFetched(&r, q.version)
			if number == q.partition {
				found, one.err = true, cmp.Or(p.err, one.err)
				p = one
			}
		}
		r.tags(nil)
	}
	r.tags(nil)
	if r.err == nil && !found && p.err == nil {
		p.err = kafka.UnknownTopicOrPartition
	}
	return p, r.err
}

func parseFetched(r *reader, v int16) *fetchResponse {
	p := &fetchResponse{err: codeError(r.i16()), highWatermark: r.i64(), stable: r.i64(), replica: -1, cut: -1}
	if v >= 5 {
		r.i64() // start of the log
	}
	for n := r.length(); n > 0 && r.err == nil; n-- {
		p.aborted = append(p.aborted, abortedTxn{producer: r.i64(), first: r.i64()})
		r.tags(nil)
	}
	if v >= 11 {
		p.replica = r.i32()
	}
	p.set = r.bytes()
	r.tags(func(tag uint64, value reader) {
		if tag == 0 { // the diverging epoch
			value.i32()
			p.cut = value.i64()
		}
	})
	return p
}
