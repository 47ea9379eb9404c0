package metadata

import (
	"context"
	"encoding/base64"
	"net"
	"strconv"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// TopicID identifies a topic since Kafka 2.8 (KIP-516). It is zero with older brokers.
type TopicID [16]byte

// String is the log identity: base64 as Kafka's own tools print it; empty for none.
func (id TopicID) String() string {
	if id == (TopicID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// metadata describes topics and brokers.
type metadata struct {
	brokers map[int32]string // addresses
	topics  map[string]topicInfo
}

type topicInfo struct {
	err        error // kafka.Error, nil if there is none
	id         TopicID
	partitions map[int32]partitionInfo
}

type partitionInfo struct {
	err    error // kafka.Error, nil if there is none
	leader int32
	epoch  int32 // of the leader, -1 if not known
}

// askMetadata asks any broker about topics, all if nil, and never lets it create one. It bypasses the Transport's cache, which
// may be as old as its MetadataTTL: after an error only current metadata helps.
func (c *Client) askMetadata(ctx context.Context, topics []string) (*metadata, error) {
	known, err := c.Versions(ctx, -1)
	if err != nil {
		return nil, err
	}
	v, err := known.Choose(wire.KeyMetadata, 4, 12)
	if err != nil {
		return nil, err
	}
	x := &wire.Exchange{Key: wire.KeyMetadata, Version: v, Broker: -1}
	x.Body = appendMetadata(topics, v)
	if err := c.Do(ctx, x, 0); err != nil {
		return nil, err
	}
	cl, err := parseMetadata(x.Payload(), v)
	return cl, wire.Malformed("Metadata", err)
}

func appendMetadata(topics []string, v int16) []byte {
	w := wire.Writer{Flexible: wire.Flexible(wire.KeyMetadata, v)}
	if topics == nil {
		w.Length(-1) // all
	} else {
		w.Length(len(topics))
	}
	for _, t := range topics {
		if v >= 10 {
			w.B = append(w.B, make([]byte, 16)...) // no id: asked by name
		}
		w.Text(t)
		w.Tags()
	}
	w.Bool(false) // no topic is created
	if v >= 8 && v <= 10 {
		w.Bool(false) // operations allowed on the cluster
	}
	if v >= 8 {
		w.Bool(false) // operations allowed on the topics
	}
	w.Tags()
	return w.B
}

func parseMetadata(r wire.Reader, v int16) (*metadata, error) {
	cl := &metadata{brokers: map[int32]string{}, topics: map[string]topicInfo{}}
	r.I32() // throttled
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		id, host, port := r.I32(), r.Text(), r.I32()
		r.Text() // rack
		r.Tags(nil)
		cl.brokers[id] = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	r.Text() // id of the cluster
	r.I32()  // controller
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		t := topicInfo{err: wire.CodeError(r.I16()), partitions: map[int32]partitionInfo{}}
		name := r.Text()
		if v >= 10 {
			copy(t.id[:], r.Take(len(t.id)))
		}
		r.I8() // internal
		for n := r.Length(); n > 0 && r.Err == nil; n-- {
			p := partitionInfo{err: wire.CodeError(r.I16()), epoch: -1}
			number := r.I32()
			p.leader = r.I32()
			if v >= 7 {
				p.epoch = r.I32()
			}
			skipInts(&r) // replicas
			skipInts(&r) // in sync
			if v >= 5 {
				skipInts(&r) // offline
			}
			r.Tags(nil)
			t.partitions[number] = p
		}
		if v >= 8 {
			r.I32() // operations
		}
		r.Tags(nil)
		cl.topics[name] = t
	}
	return cl, r.Err
}

func skipInts(r *wire.Reader) {
	if n := r.Length(); n > 0 {
		r.Take(4 * n)
	}
}
