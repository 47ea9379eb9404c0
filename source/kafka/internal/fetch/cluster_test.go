// Virtual time: the tests that use it make it.

package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// broker is a cluster in this process, with a network and a clock of its own: made inside a synctest bubble.
type broker struct {
	*kfake.Cluster
	net *kfake.VirtualNetwork
	cfg Config
}

func newBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	vn := new(kfake.VirtualNetwork)
	opts = append([]kfake.Opt{kfake.Ports(9092), kfake.ListenFn(vn.Listen)}, opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	tr := &kafka.Transport{Dial: vn.DialContext, MetadataTTL: time.Second, MetadataTopics: []string{"t"}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		c.Close()
	})
	return &broker{c, vn, Config{Brokers: c.ListenAddrs(), Transport: tr}}
}

func (k *broker) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.ListenAddrs()...), kgo.Dialer(k.net.DialContext), kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce writes n records v0, v1, ... to partition 0.
func produce(t *testing.T, cl *kgo.Client, n int) {
	t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = kgo.StringRecord(fmt.Sprintf("v%d", i))
	}
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// later runs f after a while. What it returns waits for f and is to be deferred: a reader can have a record before the one
// who produces it has the answer.
func later(d time.Duration, f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(func() {
		time.Sleep(d)
		f()
	})
	return running.Wait
}

func newReader(t *testing.T, cfg Config, start int64) *Reader {
	t.Helper()
	r := NewReader(cfg, "t", 0, start)
	t.Cleanup(r.Close)
	return r
}

// readTo reads until the position is at least to, an error or a minute without anything. It checks what holds always:
// offsets ascend, none is below the start, Next is behind all of them and never goes back.
func readTo(t *testing.T, r *Reader, to int64) ([]keystrand.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []keystrand.Message
	last := r.Position() - 1
	for r.Position() < to {
		b := source.Batch{MaxMessages: 7, MaxBytes: 1 << 20}
		from := r.Position()
		if err := r.Read(ctx, &b); err != nil {
			return all, err
		}
		if b.Next <= from || b.Next != r.Position() {
			t.Fatalf("Next = %d, position %d, after position %d", b.Next, r.Position(), from)
		}
		for _, m := range b.Messages {
			if m.Offset <= last || m.Offset >= b.Next {
				t.Fatalf("offset %d after %d, Next = %d", m.Offset, last, b.Next)
			}
			last = m.Offset
		}
		all = append(all, b.Messages...)
	}
	return all, nil
}

func offsetsOf(ms []keystrand.Message) []int64 {
	os := []int64{}
	for i := range ms {
		os = append(os, ms[i].Offset)
	}
	return os
}

// raw describes a batch made by hand.
type raw struct {
	base     int64
	last     int32 // last offset delta
	records  []int // offset deltas
	attrs    int16
	producer int64
	epoch    int32
	value    string
	body     []byte // instead of records, as it is
	count    int32  // of records, where body is given
	times    [2]int64
}

func record(delta int, key, value []byte, headers ...kgo.RecordHeader) []byte {
	r := []byte{0}
	r = binary.AppendVarint(r, int64(delta)) // time
	r = binary.AppendVarint(r, int64(delta))
	for _, b := range [][]byte{key, value} {
		if b == nil {
			r = binary.AppendVarint(r, -1)
			continue
		}
		r = append(binary.AppendVarint(r, int64(len(b))), b...)
	}
	r = binary.AppendVarint(r, int64(len(headers)))
	for _, h := range headers {
		r = append(binary.AppendVarint(r, int64(len(h.Key))), h.Key...)
		if h.Value == nil {
			r = binary.AppendVarint(r, -1)
			continue
		}
		r = append(binary.AppendVarint(r, int64(len(h.Value))), h.Value...)
	}
	return append(binary.AppendVarint(nil, int64(len(r))), r...)
}

func (b raw) bytes() []byte {
	body, n := b.body, b.count
	if body == nil {
		for _, d := range b.records {
			v := b.value
			if v == "" {
				v = fmt.Sprintf("v%d", b.base+int64(d))
			}
			body = append(body, record(d, []byte("k"), []byte(v))...)
		}
		n = int32(len(b.records))
	}
	be := binary.BigEndian
	var tail []byte
	tail = be.AppendUint16(tail, uint16(b.attrs))
	tail = be.AppendUint32(tail, uint32(b.last))
	tail = be.AppendUint64(tail, uint64(b.times[0]))
	tail = be.AppendUint64(tail, uint64(b.times[1]))
	tail = be.AppendUint64(tail, uint64(b.producer))
	tail = be.AppendUint16(tail, 0)
	tail = be.AppendUint32(tail, 0)
	tail = be.AppendUint32(tail, uint32(n))
	tail = append(tail, body...)
	var out []byte
	out = be.AppendUint64(out, uint64(b.base))
	out = be.AppendUint32(out, uint32(9+len(tail)))
	out = be.AppendUint32(out, uint32(b.epoch))
	out = append(out, 2)
	out = be.AppendUint32(out, crc32.Checksum(tail, castagnoli))
	return append(out, tail...)
}

// marker is the control batch that ends a transaction.
func marker(offset, producer int64, commit bool) raw {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return raw{
		base: offset, producer: producer, attrs: attrControl | attrTransactional,
		body: record(0, key, []byte{0, 0, 0, 0, 0, 0}), count: 1,
	}
}

// answer is what a fetch at an offset gets.
type answer struct {
	set     []byte
	end     int64
	aborted [][2]int64 // producer, first offset
	code    int16
	cut     int64 // diverging end offset, if not 0
}

// serve answers all fetches by hand.
func (k *broker) serve(f func(offset int64, maxBytes int32) answer) {
	k.serveEpochs(func(p *kmsg.FetchRequestTopicPartition) answer { return f(p.FetchOffset, p.PartitionMaxBytes) })
}

// serveEpochs is serve with all that is asked for.
func (k *broker) serveEpochs(f func(p *kmsg.FetchRequestTopicPartition) answer) {
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req, ok := r.(*kmsg.FetchRequest)
		if !ok {
			return nil, errors.New("no fetch"), true
		}
		resp, _ := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				a := f(&p)
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.RecordBatches, rp.ErrorCode = p.Partition, a.set, a.code
				rp.HighWatermark, rp.LastStableOffset = a.end, a.end
				for _, ab := range a.aborted {
					at := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					at.ProducerID, at.FirstOffset = ab[0], ab[1]
					rp.AbortedTransactions = append(rp.AbortedTransactions, at)
				}
				if a.cut != 0 {
					rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = 1, a.cut
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// serveLog answers fetches from batches, as many as given per response (0: all), as a broker does: beginning with the
// batch that holds the offset, or the next one.
func (k *broker) serveLog(end int64, per int, batches ...raw) {
	k.serve(func(offset int64, _ int32) answer {
		a := answer{end: end}
		n := 0
		for _, b := range batches {
			if b.base+int64(b.last) >= offset && (per == 0 || n < per) {
				a.set = append(a.set, b.bytes()...)
				n++
			}
		}
		return a
	})
}
