package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// fake is a cluster of three brokers in memory. It lives in the bubble of its test.
type fake struct {
	*kfake.Cluster

	net *kfake.VirtualNetwork
}

func newFake(t *testing.T, opts ...kfake.Opt) *fake {
	t.Helper()
	vn := &kfake.VirtualNetwork{}
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.ListenFn(vn.Listen), kfake.NumBrokers(3), kfake.Ports(9001, 9002, 9003)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &fake{c, vn}
}

func (f *fake) sink(t *testing.T, topic string, cfg Config) *Sink {
	t.Helper()
	if cfg.Dial == nil {
		cfg.Dial = f.net.DialContext
	}
	s, err := New(f.ListenAddrs(), topic, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) writer(t *testing.T, topic string, cfg Config) sink.Writer {
	t.Helper()
	s := f.sink(t, topic, cfg)
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (f *fake) read(t *testing.T, topics ...string) []keystrand.Message {
	t.Helper()
	ms, err := readAll(t.Context(), f.ListenAddrs(), topics, kgo.Dialer(f.net.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// readAll returns all messages of the topics, in order for each partition.
func readAll(ctx context.Context, addrs, topics []string, opts ...kgo.Opt) ([]keystrand.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // real time: hang guard
	defer cancel()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topics...))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var ms []keystrand.Message
	for left > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			return nil, err
		}
		fs.EachRecord(func(r *kgo.Record) {
			left--
			m := keystrand.Message{Stream: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp}
			for _, h := range r.Headers {
				m.Headers = append(m.Headers, keystrand.Header{Key: h.Key, Value: h.Value})
			}
			ms = append(ms, m)
		})
	}
	return ms, nil
}

// keyed returns messages for texts like key=value.
func keyed(pairs ...string) []keystrand.Message {
	var ms []keystrand.Message
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		ms = append(ms, keystrand.Message{Key: []byte(k), Value: []byte(v)})
	}
	return ms
}

// values returns the values of each key, in the order in which they are stored, joined by spaces.
func values(ms []keystrand.Message) map[string]string {
	by := make(map[string]string)
	for i := range ms {
		k := string(ms[i].Key)
		by[k] = strings.TrimSpace(by[k] + " " + string(ms[i].Value))
	}
	return by
}
