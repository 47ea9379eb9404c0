// Package kafkatest makes brokers in this process and record batches by hand, for tests of the packages beside it.
package kafkatest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Broker is a cluster in this process, with a network and a clock of its own: made inside a synctest bubble.
type Broker struct {
	*kfake.Cluster
	Net    *kfake.VirtualNetwork
	Client metadata.Client // of topic "t"
}

// NewBroker starts a broker that ends with the test.
func NewBroker(t *testing.T, opts ...kfake.Opt) *Broker {
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
	return &Broker{c, vn, metadata.Client{Client: wire.Client{Brokers: c.ListenAddrs(), Transport: tr}}}
}

// Producer returns a client of franz-go that writes to partition 0 of topic "t" and closes with the test.
func (k *Broker) Producer(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.ListenAddrs()...), kgo.Dialer(k.Net.DialContext), kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Produce writes n records v0, v1, ... to partition 0.
func Produce(t *testing.T, cl *kgo.Client, n int) {
	t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = kgo.StringRecord(fmt.Sprintf("v%d", i))
	}
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// Answer is the response to a fetch at an offset.
type Answer struct {
	Set     []byte
	End     int64
	Aborted [][2]int64 // producer, first offset
	Code    int16
	Cut     int64 // diverging end offset, if not 0
	Held    int64 // messages above End that open transactions hold back

	Throttle time.Duration
	Absent   bool // leave the partition out
}

// Serve answers all fetches by hand.
func (k *Broker) Serve(f func(offset int64, maxBytes int32) Answer) {
	k.ServeEpochs(func(p *kmsg.FetchRequestTopicPartition) Answer { return f(p.FetchOffset, p.PartitionMaxBytes) })
}

// ServeEpochs is Serve with the whole request.
func (k *Broker) ServeEpochs(f func(p *kmsg.FetchRequestTopicPartition) Answer) {
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req, ok := r.(*kmsg.FetchRequest)
		if !ok {
			return nil, errors.New("not a fetch request"), true
		}
		resp, _ := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				a := f(&p)
				resp.ThrottleMillis = max(resp.ThrottleMillis, int32(a.Throttle.Milliseconds()))
				if a.Absent {
					continue
				}
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.RecordBatches, rp.ErrorCode = p.Partition, a.Set, a.Code
				rp.HighWatermark, rp.LastStableOffset = a.End+a.Held, a.End
				for _, ab := range a.Aborted {
					at := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					at.ProducerID, at.FirstOffset = ab[0], ab[1]
					rp.AbortedTransactions = append(rp.AbortedTransactions, at)
				}
				if a.Cut != 0 {
					rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = 1, a.Cut
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			if len(rt.Partitions) > 0 {
				resp.Topics = append(resp.Topics, rt)
			}
		}
		return resp, nil, true
	})
}

// ServeLog answers fetches from batches, as many as given per response (0: all), as a broker does: beginning with the
// batch that holds the offset, or the next one.
func (k *Broker) ServeLog(end int64, per int, batches ...Batch) {
	k.Serve(func(offset int64, _ int32) Answer {
		a := Answer{End: end}
		n := 0
		for _, b := range batches {
			if b.Base+int64(b.Last) >= offset && (per == 0 || n < per) {
				a.Set = append(a.Set, b.Bytes()...)
				n++
			}
		}
		return a
	})
}
