// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// readers reads every partition as a pipeline does, until the source ends.
type readers struct {
	w       *world
	s       *kafka.Source
	running sync.WaitGroup

	*tally
}

// tally is what several readers have read.
type tally struct {
	mu  sync.Mutex
	got map[string]int // messages of each topic
	err error          // of Accept
}

func (w *world) read(topics []string, change ...func(*kafka.Config)) *readers {
	w.t.Helper()
	return w.readTo(&tally{got: make(map[string]int)}, topics, change...)
}

func (w *world) readTo(to *tally, topics []string, change ...func(*kafka.Config)) *readers {
	w.t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	s, err := kafka.New(w.brokers, "g", topics, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	r := &readers{w: w, s: s, tally: to}
	ctx, cancel := context.WithCancel(w.t.Context())
	r.running.Go(func() {
		for {
			p, err := s.Accept(ctx)
			if err != nil {
				if ctx.Err() == nil {
					r.mu.Lock()
					r.err = err
					r.mu.Unlock()
				}
				return
			}
			r.running.Go(func() { r.partition(ctx, p) })
		}
	})
	w.t.Cleanup(func() {
		cancel()
		r.running.Wait()
		_ = s.Close()
	})
	return r
}

func (r *readers) partition(ctx context.Context, p source.Partition) {
	defer r.w.release(p) //nolint:contextcheck // Release must not end with ctx
	b := &source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	for p.Fetch(ctx, b) == nil {
		r.mu.Lock()
		r.got[p.ID().Stream] += len(b.Messages)
		r.mu.Unlock()
		saving, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = p.Commit(saving, progress(p, b.Next))
		cancel()
		b.Messages = b.Messages[:0]
	}
}

// wants produces a message to each partition of a topic and waits until all are read.
func (r *readers) wants(topic string, partitions int32) {
	r.w.t.Helper()
	r.mu.Lock()
	want := r.got[topic] + int(partitions)
	r.mu.Unlock()
	cl := r.w.client()
	defer cl.Close()
	for n := range partitions {
		if err := cl.ProduceSync(r.w.t.Context(), &kgo.Record{Topic: topic, Partition: n, Value: []byte("v")}).FirstErr(); err != nil {
			r.w.t.Fatalf("produce to %s/%d: %v", topic, n, err)
		}
	}
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r.mu.Lock()
		got, err := r.got[topic], r.err
		r.mu.Unlock()
		if got >= want {
			return
		}
		if err != nil || time.Since(began) > 2*time.Minute {
			r.w.t.Fatalf("%s: read %d messages, want %d; Accept = %v, report %+v", topic, got, want, err, r.s.Report())
		}
	}
}

func (w *world) must(errs ...error) {
	w.t.Helper()
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// Whatever happens to one topic, the other goes on, also without WatchTopics and longer than RebalanceTimeout.
func TestDeletedTopicEndsNoOtherTopic(t *testing.T) {
	second := func(w *world, r *readers) { // joins the group, so that the topics are assigned again
		watch := func(c *kafka.Config) { c.WatchTopics = true } // else an absent topic is an error at the start
		w.readTo(r.tally, []string{"t", "u"}, watch)
	}
	for _, c := range []struct {
		name string
		do   func(w *world, r *readers)
	}{
		{"for good", func(w *world, _ *readers) {
			w.must(w.cluster.DeleteTopic("u"))
		}},
		{"made again", func(w *world, r *readers) {
			w.must(w.cluster.DeleteTopic("u"))
			time.Sleep(2 * time.Minute)
			w.must(w.cluster.CreateTopic("u", 3, nil))
			r.wants("u", 3)
		}},
		{"made again at once", func(w *world, r *readers) {
			w.must(w.cluster.DeleteTopic("u"), w.cluster.CreateTopic("u", 2, nil))
			r.wants("u", 2)
		}},
		{"made again at once with fewer partitions", func(w *world, r *readers) {
			w.must(w.cluster.DeleteTopic("u"), w.cluster.CreateTopic("u", 1, nil))
			r.wants("u", 1)
		}},
		{"while a member joins", func(w *world, r *readers) {
			w.must(w.cluster.DeleteTopic("u"))
			second(w, r)
		}},
		{"before a member joins", func(w *world, r *readers) {
			w.must(w.cluster.DeleteTopic("u"))
			time.Sleep(time.Minute)
			second(w, r)
		}},
		{"after a plan that has it", func(w *world, r *readers) {
			// The members read their progress after the plan is made.
			w.cluster.ControlKey(int16(kmsg.SyncGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				go func() { _ = w.cluster.DeleteTopic("u") }()
				return nil, nil, false
			})
			second(w, r)
		}},
		{"before its offsets are found", func(w *world, r *readers) {
			w.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
				go func() { _ = w.cluster.DeleteTopic("u") }()
				return nil, nil, false
			})
			second(w, r)
		}},
		{"before it is claimed", func(w *world, r *readers) {
			w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
				go func() { _ = w.cluster.DeleteTopic("u") }()
				w.cluster.KeepControl()
				return refusedCommitOf(req, "u"), nil, true
			})
			second(w, r)
		}},
		{"all topics, made again", func(w *world, _ *readers) {
			w.must(w.cluster.DeleteTopic("u"), w.cluster.DeleteTopic("t"))
			time.Sleep(2 * time.Minute)
			w.must(w.cluster.CreateTopic("t", 2, nil))
		}},
		{"the other is made again meanwhile", func(w *world, _ *readers) {
			w.must(w.cluster.DeleteTopic("u"))
			time.Sleep(2 * time.Minute)
			w.must(w.cluster.DeleteTopic("t"))
			time.Sleep(2 * time.Minute)
			w.must(w.cluster.CreateTopic("t", 2, nil))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				w.must(w.cluster.CreateTopic("u", 2, nil))
				r := w.read([]string{"t", "u"})
				r.wants("t", 2)
				r.wants("u", 2)
				c.do(w, r)
				time.Sleep(3 * time.Minute) // longer than every timeout
				r.mu.Lock()
				err := r.err
				r.mu.Unlock()
				if err != nil {
					w.t.Fatalf("Accept = %v, want the other topic to go on", err)
				}
				r.wants("t", 2)
			})
		})
	}
}

// refusedCommitOf answers an OffsetCommit: the partitions of a topic are not known, the others are stored.
func refusedCommitOf(r kmsg.Request, topic string) kmsg.Response {
	resp, ok := refusedCommit(r, kerr.UnknownTopicOrPartition).(*kmsg.OffsetCommitResponse)
	if !ok {
		panic(r)
	}
	for i, t := range resp.Topics {
		for n := range t.Partitions {
			if t.Topic != topic {
				resp.Topics[i].Partitions[n].ErrorCode = 0
			}
		}
	}
	return resp
}

// A finite source ends although a topic was deleted that another member would have read to its end.
func TestFiniteSourceEndsWithoutADeletedTopic(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.must(w.cluster.CreateTopic("u", 2, nil))
		w.produce(0, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		all := []*readers{w.read([]string{"t", "u"}, finite), w.read([]string{"t", "u"}, finite)}
		cl := w.client()
		defer cl.Close()
		w.must(cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "u", Partition: 1}).FirstErr())
		w.cluster.ControlKey(int16(kmsg.SyncGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
			go func() { _ = w.cluster.DeleteTopic("u") }()
			return nil, nil, false
		})
		time.Sleep(5 * time.Minute)
		for _, r := range all {
			r.mu.Lock()
			if !errors.Is(r.err, io.EOF) {
				w.t.Errorf("Accept = %v, want io.EOF: %+v", r.err, r.s.Report())
			}
			r.mu.Unlock()
		}
	})
}
