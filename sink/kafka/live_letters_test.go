package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	source "github.com/keystrand/keystrand/source/kafka"
)

// liveRun runs a pipeline over a topic to its end.
func liveRun(t *testing.T, brokers []string, topic string, build func(*pipeline.Builder) *pipeline.Builder) (pipeline.Snapshot, error) {
	t.Helper()
	src, err := source.New(brokers, fmt.Sprintf("sink-%d", time.Now().UnixNano()), []string{topic}, source.Config{StopAtEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := build(pipeline.From(src)).Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = p.Run(ctx)
	if ctx.Err() != nil {
		t.Errorf("Run ends with its ctx only")
	}
	return p.Snapshot(), err
}

// anyTime is the configuration of a topic that takes every time.
func anyTime() map[string]*string {
	most := "9223372036854775807"
	return map[string]*string{"message.timestamp.after.max.ms": &most}
}

// liveTimes are times that a topic with anyTime accepts, in milliseconds.
func liveTimes() map[string]int64 {
	now := time.Now().UnixMilli()
	return map[string]int64{"old": now - 10*86400_000, "micro": now * 1000, "9999": 253_402_300_799_000, "0": 0, "1": 1, "now": now}
}

// liveInput fills a topic with messages of odd times, and one near the limit of the size.
func liveInput(t *testing.T, brokers []string, big bool) (topic string) {
	t.Helper()
	topic = liveTopic(t, brokers, 1, anyTime())
	var ms []keystrand.Message
	for key, at := range liveTimes() {
		ms = append(ms, keystrand.Message{Key: []byte(key), Value: []byte("v"), Time: time.UnixMilli(at)})
	}
	if big {
		ms = append(ms, keystrand.Message{Key: []byte("big"), Value: make([]byte, 1_048_400)})
	}
	write(t, brokers, topic, ms)
	return topic
}

func write(t *testing.T, brokers []string, topic string, ms []keystrand.Message) {
	t.Helper()
	s, err := New(brokers, topic, Config{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(t.Context(), ms), w.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// The dead-letter topic has the defaults of the broker: it deletes after 7 days by the time of a message, and refuses times
// more than an hour ahead.
func TestLiveDeadLettersStayWhateverTheirMessagesAre(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in := liveInput(t, brokers, true)
	week := "604800000"
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm, dead := kadm.NewClient(cl), fmt.Sprintf("sink-letters-%d", time.Now().UnixNano())
	if _, err := adm.CreateTopic(t.Context(), 1, 1, map[string]*string{"retention.ms": &week}, dead); err != nil {
		t.Fatal(err)
	}
	defer adm.DeleteTopic(context.Background(), dead) //nolint:errcheck // the broker is thrown away
	dlq, err := New(brokers, dead, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := liveRun(t, brokers, in, func(b *pipeline.Builder) *pipeline.Builder {
		return b.HandleFunc(func(context.Context, *keystrand.Message) error {
			return keystrand.Permanent(errors.New("cannot handle this"))
		}).OnFailure(pipeline.DeadLetter(dlq))
	})
	if n := int64(len(liveTimes()) + 1); err != nil || s.Failed != n || s.DeadLettered != n {
		t.Errorf("Run: %v; failed %d, dead-lettered %d; want %d", err, s.Failed, s.DeadLettered, n)
	}
	time.Sleep(3 * time.Second) // real time: the broker of tools/services looks for old messages each second
	starts, err := adm.ListStartOffsets(t.Context(), dead)
	if o, ok := starts.Lookup(dead, 0); err != nil || !ok || o.Offset != 0 {
		t.Errorf("the broker has deleted letters up to %+v, %v", o, err)
	}
	got := make(map[string]string)
	for _, m := range readMust(t, brokers, dead) {
		at, _ := m.Header(pipeline.HeaderTime)
		got[string(m.Key)] = string(at)
		if d := time.Since(m.Time); d > time.Minute || d < -time.Minute {
			t.Errorf("letter of %s has the time %v", m.Key, m.Time)
		}
	}
	if len(got) != len(liveTimes())+1 {
		t.Errorf("letters of %v, want one for each message", got)
	}
	for _, key := range []string{"9999", "0", "1"} {
		if want := fmt.Sprint(liveTimes()[key]); got[key] != want {
			t.Errorf("letter of %s: time %s, want %s", key, got[key], want)
		}
	}
	_ = dlq.Close()
}

func TestLiveTimeGoesThroughAPipelineAsItCameIn(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in, out := liveInput(t, brokers, false), liveTopic(t, brokers, 1, anyTime())
	s, err := New(brokers, out, Config{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(topic string, build func(*pipeline.Builder, func(*keystrand.Message)) *pipeline.Builder) map[string]int64 {
		times, mu := make(map[string]int64), sync.Mutex{}
		_, err := liveRun(t, brokers, topic, func(b *pipeline.Builder) *pipeline.Builder {
			return build(b, func(m *keystrand.Message) {
				mu.Lock()
				defer mu.Unlock()
				times[string(m.Key)] = m.Time.UnixMilli()
			})
		})
		if err != nil {
			t.Error(err)
		}
		return times
	}
	before := read(in, func(b *pipeline.Builder, seen func(*keystrand.Message)) *pipeline.Builder {
		return b.TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			seen(m)
			emit(*m)
			return nil
		}).To(s)
	})
	after := read(out, func(b *pipeline.Builder, seen func(*keystrand.Message)) *pipeline.Builder {
		return b.HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			seen(m)
			return nil
		})
	})
	for key := range liveTimes() {
		if before[key] != after[key] {
			t.Errorf("%s: %d came in, %d went out", key, before[key], after[key])
		}
	}
	if after["9999"] != 253_402_300_799_000 || after["0"] != 0 || after["1"] != 1 {
		t.Errorf("times %v", after)
	}
	_ = s.Close()
}

// A broker with its defaults refuses a time that is more than an hour ahead. The policy decides, and nothing is tried again.
func TestLiveTimeThatTheTopicRefusesIsRefusedForGood(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in, out := liveInput(t, brokers, false), liveTopic(t, brokers, 1, nil)
	s, err := New(brokers, out, Config{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = liveRun(t, brokers, in, func(b *pipeline.Builder) *pipeline.Builder {
		return b.TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			emit(*m)
			return nil
		}).To(s)
	})
	e, ok := errors.AsType[*pipeline.FailureError](err)
	if !ok || string(e.Key) != "micro" && string(e.Key) != "9999" || errors.Is(err, sink.ErrDestination) {
		t.Errorf("Run: %v", err)
	}
	t.Logf("after %v: %v", time.Since(began), err)
	_ = s.Close()
}

func TestLiveMissingTopicEndsThePipeline(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in := liveInput(t, brokers, false)
	for name, build := range map[string]func(*pipeline.Builder, *Sink) *pipeline.Builder{
		"sink": func(b *pipeline.Builder, s *Sink) *pipeline.Builder {
			return b.TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(*m)
				return nil
			}).To(s)
		},
		"dead letters": func(b *pipeline.Builder, s *Sink) *pipeline.Builder {
			return b.HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New("no") }).OnFailure(pipeline.DeadLetter(s))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(brokers, in+"x", Config{})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = liveRun(t, brokers, in, func(b *pipeline.Builder) *pipeline.Builder { return build(b, s) })
			d := time.Since(began)
			t.Logf("after %v: %v", d, err)
			if !errors.Is(err, sink.ErrDestination) || d > 10*time.Second {
				t.Errorf("Run returned %v after %v", err, d)
			}
			_ = s.Close()
		})
	}
}

func TestLiveTooLargeOutputEndsAtOnce(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in, out := liveInput(t, brokers, false), liveTopic(t, brokers, 1, nil)
	for name, most := range map[string]int{"by the sink": 0, "by the broker": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			s, err := New(brokers, out, Config{MaxBatchBytes: most})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = liveRun(t, brokers, in, func(b *pipeline.Builder) *pipeline.Builder {
				return b.TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
					emit(keystrand.Message{Key: m.Key, Value: make([]byte, 2<<20)})
					return nil
				}).To(s)
			})
			if e, ok := errors.AsType[*pipeline.FailureError](err); !ok || time.Since(began) > 5*time.Second {
				t.Errorf("Run returned %v after %v", err, time.Since(began))
			} else {
				t.Log(e)
			}
			_ = s.Close()
		})
	}
}

// The topic is deleted while the pipeline runs, and the process is asked to stop.
func TestLiveStopIsSoonAlthoughTheTopicIsGone(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	in := liveTopic(t, brokers, 1, anyTime())
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm, out := kadm.NewClient(cl), in+"-out"
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, out); err != nil {
		t.Fatal(err)
	}
	s, err := New(brokers, out, Config{})
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.New(brokers, in, []string{in}, source.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.From(src).TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
		emit(*m)
		return nil
	}).To(s).Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	until := func(what string, ok func(pipeline.Snapshot) bool) {
		t.Helper()
		for range 200 {
			if ok(p.Snapshot()) {
				return
			}
			time.Sleep(100 * time.Millisecond) // real time: a poll of the broker
		}
		t.Fatalf("not in 20 s: %s: %+v", what, p.Snapshot())
	}
	write(t, brokers, in, keyed("a=1"))
	until("written", func(s pipeline.Snapshot) bool { return s.Written == 1 && p.Ready() })
	if _, err := adm.DeleteTopic(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // real time: so that the broker has deleted it
	write(t, brokers, in, keyed("a=2"))
	began := time.Now()
	until("trouble", func(s pipeline.Snapshot) bool { return len(s.Sinks) == 1 && !p.Ready() })
	t.Logf("trouble after %v: %+v", time.Since(began), p.Snapshot().Sinks)
	stop()
	began = time.Now()
	err = <-done
	if e, ok := errors.AsType[*pipeline.UnwrittenError](err); !ok || e.Outputs != 1 || time.Since(began) > 5*time.Second {
		t.Errorf("Run returned %v after %v", err, time.Since(began))
	}
	_ = s.Close()
}

func TestLiveCheckNamesWhatIsRefused(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA_SASL")
	for name, login := range map[string]plain.Mechanism{
		"no permission":  {Username: "carol", Password: "carol-secret"},
		"wrong password": {Username: "alice", Password: "wrong-secret"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(brokers, "any", Config{SASL: login})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // nothing is open
			began := time.Now()
			err = s.Check(t.Context())
			t.Logf("after %v: %v", time.Since(began), err)
			if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || !errors.Is(err, sink.ErrDestination) {
				t.Errorf("Check: %v", err)
			}
		})
	}
}
