package kafka

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

func TestCheckTellsWhetherTheTopicCanBeWritten(t *testing.T) {
	metadata := func(fix func(*kmsg.MetadataResponse, *kmsg.MetadataResponseTopic)) func(*fake) {
		return func(f *fake) {
			f.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
				f.KeepControl()
				q, _ := req.(*kmsg.MetadataRequest)
				if len(q.Topics) == 0 {
					return nil, nil, false
				}
				res, _ := q.ResponseKind().(*kmsg.MetadataResponse)
				t := kmsg.NewMetadataResponseTopic()
				t.Topic = q.Topics[0].Topic
				p := kmsg.NewMetadataResponseTopicPartition()
				t.Partitions = append(t.Partitions, p)
				fix(res, &t)
				res.Topics = append(res.Topics, t)
				return res, nil, true
			})
		}
	}
	code := func(err *kerr.Error) func(*fake) {
		return metadata(func(_ *kmsg.MetadataResponse, t *kmsg.MetadataResponseTopic) { t.ErrorCode = err.Code })
	}
	operations := func(bits int32) func(*fake) {
		return metadata(func(_ *kmsg.MetadataResponse, t *kmsg.MetadataResponseTopic) { t.AuthorizedOperations = bits })
	}
	const good, forGood, again = "", "for good", "again"
	for name, tc := range map[string]struct {
		topic string
		setup func(*fake)
		want  string
		text  string
	}{
		"exists":               {"orders", nil, good, ""},
		"missing":              {"nothing-like-it", nil, forGood, "the topic does not exist: create it"},
		"typo":                 {"oders", nil, forGood, `did you mean "orders"?`},
		"another case":         {"ORDERS", nil, forGood, `did you mean "orders"?`},
		"made soon":            {"late", func(f *fake) { time.AfterFunc(time.Second/2, func() { _ = f.addTopic(context.Background(), "late") }) }, good, ""},
		"not to be described":  {"orders", code(kerr.TopicAuthorizationFailed), forGood, "no permission to write to the topic"},
		"illegal for a broker": {"orders", code(kerr.InvalidTopicException), forGood, "orders"},
		"no leader yet":        {"orders", code(kerr.LeaderNotAvailable), again, ""},
		"to be read only":      {"orders", operations(1<<3 | 1<<8), forGood, "no permission to write to the topic"},
		"to be written":        {"orders", operations(1<<4 | 1<<8), good, ""},
		"by stream":            {"", nil, good, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(1, "orders", "payments"))
				if tc.setup != nil {
					tc.setup(f)
				}
				s := f.sink(t, tc.topic, Config{ByStream: tc.topic == ""})
				defer s.Close() //nolint:errcheck // nothing is open
				began := time.Now()
				err := s.Check(t.Context())
				outcome, _ := keystrand.OutcomeOf(err)
				got := map[bool]string{true: again, false: good}[err != nil]
				if outcome == keystrand.OutcomePermanent {
					got = forGood
				}
				if got != tc.want || err != nil && !strings.Contains(err.Error(), tc.text) {
					t.Errorf("Check: %s: %v; want %s: %s", got, err, tc.want, tc.text)
				}
				if got == forGood && !errors.Is(err, sink.ErrDestination) {
					t.Errorf("%v does not wrap ErrDestination", err)
				}
				if d := time.Since(began); d > 3*time.Second {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

func (f *fake) addTopic(ctx context.Context, name string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.ListenAddrs()...), kgo.Dialer(f.net.DialContext))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, name)
	return err
}

func TestCheckIsTriedAgainWhileNoBrokerAnswers(t *testing.T) {
	for name, dial := range map[string]func(ctx context.Context, network, address string) (net.Conn, error){
		"refuses": func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") },
		"silent": func(context.Context, string, string) (net.Conn, error) {
			client, _ := net.Pipe()
			return client, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New([]string{"host:9092"}, "out", Config{Dial: dial})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				err = s.Check(ctx)
				if o, _ := keystrand.OutcomeOf(err); err == nil || o == keystrand.OutcomePermanent || !strings.Contains(err.Error(), "host:9092") {
					t.Errorf("Check: %v", err)
				}
				if d := time.Since(began); d > time.Second {
					t.Errorf("took %v, longer than its ctx", d)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute) // the library gives its connections up
			})
		})
	}
}

func TestNewRefusesIllegalNamesOfTopics(t *testing.T) {
	for _, name := range []string{".", "..", "a b", "a/b", "ä", "a:b", "persistent://public/default/a", strings.Repeat("x", 250)} {
		if _, err := New([]string{"host:9092"}, name, Config{}); err == nil || !strings.Contains(err.Error(), "illegal name of a topic") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"...", "a.b_c-D9", strings.Repeat("x", 249)} {
		if _, err := New([]string{"host:9092"}, name, Config{}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestStreamWithAnIllegalNameIsRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "good"))
		w := f.writer(t, "", Config{ByStream: true})
		err := w.Write(t.Context(), []keystrand.Message{{Stream: "not good"}, {Stream: "good"}})
		p, ok := errors.AsType[*sink.PartialError](err)
		if !ok || p.Errs[1] != nil || !errors.Is(p.Errs[0], sink.ErrDestination) {
			t.Errorf("error: %v", err)
		}
	})
}

// While a Write waits, the sink tells why, and nothing once it goes on.
func TestSinkReportsWhyAWriteWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		topic string
		setup func(f *fake) (heal func())
		text  string
	}{
		"no topic": {"new", func(f *fake) func() { return func() { _ = f.addTopic(context.Background(), "new") } }, "kafka: write to topic new: the topic does not exist"},
		"no leader": {"out", func(f *fake) func() {
			f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 4})
			return func() {}
		}, "kafka: write to out/0: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(1, "out"))
				heal := tc.setup(f)
				s := f.sink(t, tc.topic, Config{HealTimeout: time.Minute})
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() { done <- w.Write(t.Context(), keyed("a=1")) }()
				time.Sleep(300 * time.Millisecond)
				if err := s.Trouble(); err == nil || !strings.HasPrefix(err.Error(), tc.text) {
					t.Errorf("Trouble: %v, want %s", err, tc.text)
				}
				heal()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := s.Trouble(); err != nil {
					t.Errorf("Trouble after the Write: %v", err)
				}
				if err := errors.Join(w.Close(), s.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A request to write without an answer is the trouble while it lasts.
func TestSinkReportsABrokerThatDoesNotAnswerAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		var mute atomic.Bool
		s := f.sink(t, "out", Config{RequestTimeout: 4 * time.Second, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := f.net.DialContext(ctx, network, address)
			return &muteConn{conn, &mute}, err
		}})
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		mute.Store(true)
		done := make(chan error)
		go func() { done <- w.Write(t.Context(), keyed("a=2")) }()
		time.Sleep(900 * time.Millisecond)
		if err := s.Trouble(); err != nil {
			t.Errorf("Trouble of a request that is on time: %v", err)
		}
		time.Sleep(time.Second)
		if err := s.Trouble(); err == nil || !strings.Contains(err.Error(), "has not answered a request to write for 2s") {
			t.Errorf("Trouble: %v, want that the broker has not answered", err)
		}
		mute.Store(false)
		if err := errors.Join(<-done, s.Trouble(), w.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// After a Write that has given up nothing waits: the pipeline knows its error, and writes again.
func TestSinkReportsNothingAfterAWriteThatGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1000})
		s := f.sink(t, "out", Config{HealTimeout: time.Second})
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), keyed("a=1")); err == nil {
			t.Error("Write = nil, want an error after HealTimeout")
		}
		if err := errors.Join(s.Trouble(), w.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}
