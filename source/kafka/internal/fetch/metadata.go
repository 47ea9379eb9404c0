package fetch

import (
	"context"
	"encoding/base64"
	"net"
	"strconv"

	"github.com/segmentio/kafka-go"
)

// topicID is the 16 bytes that a topic is known by from Kafka 2.8 on; zero if brokers have none (KIP-516).
type topicID [16]byte

// String is the log identity: base64 as Kafka's own tools print it; empty for none.
func (id topicID) String() string {
	if id == (topicID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// cluster is what brokers say about some topics and about each other.
type cluster struct {
	brokers map[int32]string // addresses
	topics  map[string]topicInfo
}

type topicInfo struct {
	err        error // kafka.Error, nil if there is none
	id         topicID
	partitions map[int32]partitionInfo
}

type partitionInfo struct {
	err    error // kafka.Error, nil if there is none
	leader int32
	epoch  int32 // of the leader, -1 if not known
}

// askMetadata asks any broker about topics, and never lets it create one. It goes past the Transport's cache, whose
// age is anything up to its MetadataTTL: after an error only news helps.
func (c *Config) askMetadata(ctx context.Context, topics []string) (*cluster, error) {
	known, err := c.askVersions(ctx, -1)
	if err != nil {
		return nil, err
	}
	v, err := known.choose(keyMetadata, 4, 12)
	if err != nil {
		return nil, err
	}
	x := &exchange{key: keyMetadata, version: v, broker: -1}
	x.body = appendMetadata(topics, v)
	if err := c.do(ctx, x, c.RequestTimeout); err != nil {
		return nil, err
	}
	cl, err := parseMetadata(x.payload(), v)
	return cl, malformed("Metadata", err)
}

func appendMetadata(topics []string, v int16) []byte {
	w := writer{flexible: flexibleVersion(keyMetadata, v)}
	w.length(len(topics))
	for _, t := range topics {
		if v >= 10 {
			w.b = append(w.b, make([]byte, 16)...) // no id: asked by name
		}
		w.string(t)
		w.tags()
	}
	w.bool(false) // no topic is created
	if v >= 8 && v <= 10 {
		w.bool(false) // operations allowed on the cluster
	}
	if v >= 8 {
		w.bool(false) // operations allowed on the topics
	}
	w.tags()
	return w.b
}

func parseMetadata(r reader, v int16) (*cluster, error) {
	cl := &cluster{brokers: map[int32]string{}, topics: map[string]topicInfo{}}
	r.i32() // throttled
	for n := r.length(); n > 0 && r.err == nil; n-- {
		id, host, port := r.i32(), r.string(), r.i32()
		r.string() // rack
		r.tags(nil)
		cl.brokers[id] = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	r.string() // id of the cluster
	r.i32()    // controller
	for n := r.length(); n > 0 && r.err == nil; n-- {
		t := topicInfo{err: codeError(r.i16()), partitions: map[int32]partitionInfo{}}
		name := r.string()
		if v >= 10 {
			copy(t.id[:], r.take(len(t.id)))
		}
		r.i8() // internal
		for n := r.length(); n > 0 && r.err == nil; n-- {
			p := partitionInfo{err: codeError(r.i16()), epoch: -1}
			number := r.i32()
			p.leader = r.i32()
			if v >= 7 {
				p.epoch = r.i32()
			}
			r.skipInts() // replicas
			r.skipInts() // in sync
			if v >= 5 {
				r.skipInts() // offline
			}
			r.tags(nil)
			t.partitions[number] = p
		}
		if v >= 8 {
			r.i32() // operations
		}
		r.tags(nil)
		cl.topics[name] = t
	}
	return cl, r.err
}

func (r *reader) skipInts() {
	if n := r.length(); n > 0 {
		r.take(4 * n)
	}
}

func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}
