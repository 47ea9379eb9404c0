package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/sourcetest"
)

func TestSourceContract(t *testing.T) {
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				t := w.t
				c.Test(t, newEnv(t, w.brokers, w.topic, "g", w.dial, w.config()))
			}, kfake.GroupMinSessionTimeout(time.Second))
		})
	}
}

func TestLiveSourceContract(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			dial := (&net.Dialer{Timeout: 5 * time.Second}).DialContext
			topic := fmt.Sprintf("contract-%d", time.Now().UnixNano())
			adm := kadm.NewClient(newClient(t, brokers, dial))
			if _, err := adm.CreateTopic(t.Context(), 3, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = adm.DeleteTopics(context.Background(), topic) })
			cfg := kafka.Config{
				SessionTimeout:    6 * time.Second, // the least a broker allows
				HeartbeatInterval: 300 * time.Millisecond,
				RebalanceTimeout:  20 * time.Second,
				MaxWait:           100 * time.Millisecond,
			}
			if testing.Verbose() {
				cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
			}
			c.Test(t, newEnv(t, brokers, topic, topic, dial, cfg))
		})
	}
}

// liveBrokers returns the addresses of a real Kafka.
func liveBrokers(t *testing.T, variable string) []string {
	t.Helper()
	addresses := os.Getenv(variable)
	if addresses == "" {
		t.Skipf("%s is not set: start the brokers with tools/services/services, and eval what its env prints", variable)
	}
	return strings.Split(addresses, ",")
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func newClient(t *testing.T, brokers []string, dial dialFunc, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.Dialer(dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.UnknownTopicRetries(-1),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// plug is a network that can be disconnected, as by the crash of a process.
type plug struct {
	dial   dialFunc
	pulled atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
}

func (p *plug) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if p.pulled.Load() {
		return nil, errors.New("the process is dead")
	}
	c, err := p.dial(ctx, network, address)
	if err == nil {
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
	}
	return c, err
}

func (p *plug) pull() {
	p.pulled.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func newEnv(t *testing.T, brokers []string, topic, group string, dial dialFunc, cfg kafka.Config) sourcetest.Env {
	t.Helper()
	plugs := make(map[source.Source]*plug)
	join := func(change func(*kafka.Config)) (source.Source, error) {
		p := &plug{dial: dial}
		cfg := cfg
		cfg.Dial = p.connect
		change(&cfg)
		s, err := kafka.New(brokers, group, []string{topic}, cfg)
		if err != nil {
			return nil, err
		}
		plugs[s] = p
		return s, nil
	}
	produce := func(cl *kgo.Client, partition int32, msgs ...keystrand.Message) error {
		for _, m := range msgs {
			r := &kgo.Record{Topic: topic, Partition: partition, Key: m.Key, Value: m.Value}
			for _, h := range m.Headers {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
			}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				return err
			}
		}
		return nil
	}
	// A client for each use: an old one has cached metadata of a deleted topic.
	client := func(opts ...kgo.Opt) *kgo.Client { return newClient(t, brokers, dial, opts...) }
	return sourcetest.Env{
		Stream:     topic,
		Partitions: 3,
		Group:      group,
		Join:       func() (source.Source, error) { return join(func(*kafka.Config) {}) },
		JoinFinite: func() (source.Source, error) { return join(func(c *kafka.Config) { c.StopAtEnd = true }) },
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			cl := client()
			defer cl.Close()
			return produce(cl, partition, msgs...)
		},
		Skip: func(partition int32) (int64, error) {
			cl := client(kgo.TransactionalID(fmt.Sprintf("%s-%d", topic, partition)))
			defer cl.Close()
			if err := cl.BeginTransaction(); err != nil {
				return 0, err
			}
			if err := produce(cl, partition, keystrand.Message{Value: []byte("aborted")}, keystrand.Message{Value: []byte("aborted")}); err != nil {
				return 0, err
			}
			if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
				return 0, err
			}
			// Markers are written after the answer.
			adm := kadm.NewClient(cl)
			for {
				ends, err := adm.ListCommittedOffsets(t.Context(), topic)
				if err != nil {
					return 0, err
				}
				newest, err := adm.ListEndOffsets(t.Context(), topic)
				if err != nil {
					return 0, err
				}
				stable, _ := ends.Lookup(topic, partition)
				end, _ := newest.Lookup(topic, partition)
				if stable.Offset == end.Offset {
					return end.Offset, nil
				}
				time.Sleep(20 * time.Millisecond) // real time: the broker completes the transaction when it likes
			}
		},
		Recreate: func() error {
			adm := kadm.NewClient(client())
			if _, err := adm.DeleteTopics(t.Context(), topic); err != nil {
				return err
			}
			for {
				r, err := adm.CreateTopic(t.Context(), 3, 1, nil, topic)
				if err == nil {
					err = r.Err
				}
				if err == nil {
					return nil
				}
				if t.Context().Err() != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond) // real time: deleting takes the broker a moment
			}
		},
		Crash: func(src source.Source) error {
			plugs[src].pull()
			return nil
		},
		Lose: func(src source.Source, _ source.ID) error {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group = group
			m := kmsg.NewLeaveGroupRequestMember()
			s, ok := src.(*kafka.Source)
			if !ok {
				return fmt.Errorf("%T is not a Kafka source", src)
			}
			m.MemberID = s.Report().Member
			req.Members = append(req.Members, m)
			_, err := req.RequestWith(t.Context(), client())
			return err
		},
		Wait: 4 * time.Minute,
	}
}
