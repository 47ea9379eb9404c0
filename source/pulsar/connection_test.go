// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"go/build"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

var _ source.Prefetcher = (*Partition)(nil)

func TestOwnershipEndsWithItsConnection(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 30) {
			b.produce(topic0, msg)
		}
		read(t, p, 10)
		settle(t, p, 6)
		b.fault = func() ackFault { return hangs }
		committed := make(chan error)
		go func() {
			_, err := p.Commit(t.Context(), &commit.Progress{Frontier: 8})
			committed <- err
		}()
		time.Sleep(second)
		begin, requests := time.Now(), b.requests
		b.cut(topic0, "")
		if err := <-committed; !errors.Is(err, commit.ErrFenced) {
			t.Errorf("the commit under way = %v, want fenced", err)
		}
		b.change(func() { b.fault = nil })
		if l := <-p.Leaving(); !l.Lost {
			t.Errorf("leaving says %+v, want lost", l)
		}
		batch := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := p.Fetch(t.Context(), &batch); !errors.Is(err, source.ErrLeaving) || len(batch.Messages) > 0 {
			t.Errorf("fetch = %v with %d messages, want none and that it is leaving", err, len(batch.Messages))
		}
		if _, err := p.Commit(t.Context(), &commit.Progress{Frontier: 9}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want fenced", err)
		}
		<-p.closed // before the release
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("it took %v", d)
		}
		q := m.accept()
		if q.ID().Epoch <= p.ID().Epoch {
			t.Errorf("epoch %d after %d", q.ID().Epoch, p.ID().Epoch)
		}
		if msgs := read(t, q, 24); string(msgs[0].Value) != "6" || string(msgs[23].Value) != "29" {
			t.Errorf("messages %s to %s come, want 6 to 29", msgs[0].Value, msgs[23].Value)
		}
		if b.requests != requests {
			t.Error("something was acknowledged after the connection had gone")
		}
		_ = q.Release(t.Context())
	})
}

// The library can bring a message behind a gap when the connection has gone.
func TestNothingIsHandedOutOnceTheConnectionHasGone(t *testing.T) {
	for range 50 {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			m := join(t, b, Config{}, "orders")
			p := m.accept()
			fetched := make(chan error)
			batch := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			go func() { fetched <- p.Fetch(t.Context(), &batch) }()
			time.Sleep(second)
			b.produce(topic0, numbered(0, 1)...)
			behind := &fakeMessage{b: b, t: b.topics[topic0], e: b.topics[topic0].entries[0], id: &testID{ledger: 11, entry: 7, size: 1}}
			p.owner.broke()
			select {
			case p.consumer.(*fakeConsumer).ch <- pulsar.ConsumerMessage{Message: behind}: //nolint:errcheck // it is the fake
			default:
			}
			if err := <-fetched; err == nil {
				for _, got := range batch.Messages {
					if got.Offset != 0 {
						t.Errorf("offset %d was handed out", got.Offset)
					}
				}
			}
			batch = source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			if err := p.Fetch(t.Context(), &batch); !errors.Is(err, source.ErrLeaving) {
				t.Errorf("fetch = %v, %d messages", err, len(batch.Messages))
			}
			_ = p.Release(t.Context())
		})
	}
}

func TestConnectionThatGoesWhileAttachingCostsAnotherTry(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		tries := 0
		b.taken = func(topic string) {
			if tries++; tries <= 3 {
				b.cut(topic, "")
			}
		}
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		read(t, p, 1)
		if tries < 4 {
			t.Errorf("attached %d times, want that none counts whose connection has gone", tries)
		}
		_ = p.Release(t.Context())
	})
}

func TestSlowReleaseIsNoErrorAndGoesOnBehind(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told strings.Builder
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		p := m.accept()
		closing := make(chan struct{})
		b.change(func() { b.closing = closing })
		begin := time.Now()
		if err := p.Release(t.Context()); err != nil {
			t.Errorf("release = %v", err)
		}
		if d := time.Since(begin); d != 5*second {
			t.Errorf("release took %v, want ReleaseTimeout", d)
		}
		if !strings.Contains(told.String(), "has not let go of a partition") {
			t.Errorf("the log does not tell: %s", told.String())
		}
		time.AfterFunc(time.Minute, func() {
			b.change(func() { b.closing = nil })
			close(closing)
		})
		q := m.accept()
		if d := time.Since(begin); d < time.Minute {
			t.Errorf("accepted after %v, before the lock was free", d)
		}
		_ = q.Release(t.Context())
	})
}

func TestReleaseEndsWithItsContext(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		closing := make(chan struct{})
		b.change(func() { b.closing = closing })
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		if err := p.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("release = %v", err)
		}
		close(closing)
	})
}

// One that is chosen after a broken connection leaves the owner before time to hear of it.
func TestCandidateThatWasNotTheOwnerStandsOffAfterABrokenConnection(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		owner := join(t, b, Config{Name: "a"}, "orders")
		p := owner.accept()
		other := join(t, b, Config{Name: "z"}, "orders")
		got := make(chan source.Partition, 1)
		go func() {
			q, _ := other.s.Accept(t.Context())
			got <- q
		}()
		time.Sleep(10 * second)
		if leaving, _, _ := p.told(); leaving {
			t.Fatal("asked back before the connection broke")
		}
		begin := time.Now()
		b.cut(topic0, "a")
		q := <-got
		if d := time.Since(begin); d < b.delay+standOff || d > b.delay+2*standOff+second {
			t.Errorf("attached after %v, want the broker's word after %v and then %v to %v", d, b.delay, standOff, 2*standOff)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

func TestOwnerBeforeDoesNotStandOff(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		begin := time.Now()
		b.cut(topic0, "")
		_ = p.Release(t.Context())
		q := m.accept()
		if d := time.Since(begin); d > 0 {
			t.Errorf("attached again after %v", d)
		}
		_ = q.Release(t.Context())
	})
}

// The library closes the connection of all partitions when one that is terminated and read is attached.
func TestPartitionThatEndsItsConnectionIsLeftAloneByAndBy(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("orders", 2)
		const ended = "orders-partition-1"
		var m *member
		b.taken = func(topic string) {
			if topic != ended {
				return
			}
			time.AfterFunc(10*time.Millisecond, func() {
				m.s.ends()
				b.cut(topic0, "")
				b.cut(ended, "")
			})
		}
		m = join(t, b, Config{}, "orders")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var accepted [2]atomic.Int64
		go func() {
			for {
				p, err := m.s.Accept(ctx)
				if err != nil {
					return
				}
				accepted[p.ID().Partition].Add(1)
				go func() {
					select {
					case <-p.Leaving():
					case <-ctx.Done():
					}
					_ = p.Release(context.WithoutCancel(ctx))
				}()
			}
		}()
		time.Sleep(time.Hour)
		first := [2]int64{accepted[0].Load(), accepted[1].Load()}
		time.Sleep(time.Hour)
		for i, n := range []int64{accepted[0].Load() - first[0], accepted[1].Load() - first[1]} {
			if n > 30 {
				t.Errorf("partition %d was owned %d times in an hour", i, n)
			}
		}
		if n := len(m.s.Status().Partitions); n == 0 {
			t.Error("the other partition is not owned")
		}
	})
}

func TestLinesHearThatAConnectionGoes(t *testing.T) {
	var heard []string
	l := &lines{
		log: slog.New(slog.DiscardHandler), broke: func(topic, subscription string) { heard = append(heard, topic+" "+subscription) },
		ends:     func() { heard = append(heard, "end") },
		attached: func(topic, subscription string) { heard = append(heard, topic+" "+subscription+" attached") },
		unknown:  func() { heard = append(heard, "unknown") },
	}
	consumer := l.logger().SubLogger(map[string]any{"topic": "t", "subscription": "s"})
	consumer.Debug("connection closed and send to connectClosedCh")
	consumer.Debug("something else")
	consumer.Info("Connected consumer")
	consumer.Debug(1, "connection closed and send to connectClosedCh")
	l.logger().Errorf("Received invalid command type: %s", "REACHED_END_OF_TOPIC")
	l.logger().WithField("consumerID", 3).Warnf("Consumer with ID not found while closing consumer")
	if got := strings.Join(heard, ","); got != "t s,t s attached,end,unknown" {
		t.Errorf("heard %q", got)
	}
}

func TestTopicsAreKnownByTheNameInTheLibrarysLog(t *testing.T) {
	for topic, want := range map[string]string{
		"orders-partition-3":                 "persistent://public/default/orders-partition-3",
		"tenant/ns/orders":                   "persistent://tenant/ns/orders",
		"persistent://public/default/orders": "persistent://public/default/orders",
	} {
		if got := full(topic); got != want {
			t.Errorf("full(%s) = %s, want %s", topic, got, want)
		}
	}
}

// Every ownership hangs on what the library says when a connection goes. This test fails when another version says it otherwise:
// then look where it does, and that it still comes before the consumer hears of it.
func TestLibraryStillSaysThatAConnectionGoes(t *testing.T) {
	library, err := build.Import("github.com/apache/pulsar-client-go/pulsar", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"consumer_partition.go": {
			"func (pc *partitionConsumer) ConnectionClosed(closeConsumer *pb.CommandCloseConsumer) {\n" +
				"\t// Trigger reconnection in the consumer goroutine\n\tpc.log.Debug(\"" + goes + "\")\n",
			"\tpc.log.Info(\"" + attaches + "\")\n\terr = pc._getConn().AddConsumeHandler(pc.consumerID, pc)\n",
			"\t\tif maxRetry == 0 {\n\t\t\treturn struct{}{}, nil\n\t\t}\n",
			"\t\t\"topic\":        options.topic,\n\t\t\"subscription\": options.subscription,\n",
		},
		filepath.Join("internal", "connection.go"): {
			"Warnf(\"Consumer with ID not found while closing consumer\")",
			"Errorf(\"Received invalid command type: %s\", cmd.Type)",
		},
	} {
		text, err := os.ReadFile(filepath.Join(library.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not contain\n%s", file, w)
			}
		}
	}
}
