package pulsar

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
	"github.com/keystrand/keystrand/source"
)

// Soak: the topic is deleted under its owner.
func TestSoakTopicIsCreatedLaterAndDeleted(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := "persistent://" + l.strict(t) + "/late"
	t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, 2) })
	cfg := l.config(t)
	cfg.WatchTopics, cfg.WatchInterval = true, time.Second
	r := l.reader(t, cfg, "s", topic)
	time.AfterFunc(2*time.Second, func() { _ = l.admin.Create(context.Background(), topic, 2) }) // real time: a broker is asked
	l.goes(t, r, topic, func() error { return l.admin.Remove(t.Context(), topic, 2) }, func() error { return l.admin.Create(t.Context(), topic, 2) })
}

// Here a candidate that reconnects, or a producer, creates a partition again. It is another log all the same. The broker then
// refuses to create the whole topic, since some of its partitions exist.
//
// Soak: the topic is deleted under its owner.
func TestSoakTopicIsDeletedWhereBrokersCreateTopics(t *testing.T) {
	t.Parallel()
	l := liveDefault(t)
	topic := l.topic(t, 2)
	cfg := l.config(t)
	cfg.WatchInterval = time.Second
	r := l.reader(t, cfg, "s", topic)
	l.goes(t, r, topic, func() error {
		var errs []error
		for n := range int32(2) {
			errs = append(errs, l.admin.Remove(t.Context(), partitionName(topic, n), 0))
		}
		return errors.Join(errs...)
	}, func() error { return nil })
}

// goes deletes a topic of two partitions under its reader and creates it again, twice.
func (l live) goes(t *testing.T, r *reader, topic string, remove, create func() error) {
	t.Helper()
	held := map[int32]source.Partition{}
	for range 2 {
		p := r.accept()
		held[p.ID().Partition] = p
	}
	for _, deleted := range []time.Duration{0, 3 * time.Second} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(deleted) // real time: absent for several surveys, or created again before the next one
		if err := create(); err != nil {
			t.Fatal(err)
		}
		for n := range int32(2) {
			if err := send(t.Context(), l.producer(t, partitionName(topic, n), nil), numbered(0, 3)...); err != nil {
				t.Fatal(err)
			}
		}
		// Each partition is lost and owned again, or the library was fast and reattached without notice.
		for _, n := range []int32{0, 1} {
			for got := 0; got < 3; {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				b := source.Batch{MaxMessages: 3 - got, MaxBytes: 1 << 20}
				err := held[n].Fetch(ctx, &b)
				cancel()
				got += len(b.Messages)
				switch {
				case errors.Is(err, source.ErrLeaving):
					release(t, held[n])
					for p := r.accept(); ; p = r.accept() {
						held[p.ID().Partition] = p
						if p.ID().Partition == n {
							break
						}
					}
				case err != nil:
					t.Fatalf("partition %d, absent for %v: %v; report %+v", n, deleted, err, r.s.Report())
				}
			}
		}
	}
	for _, p := range held {
		release(t, p)
	}
}

// Soak: the topic is unloaded and terminated under its owner.
func TestSoakTopicIsUnloadedAndTerminated(t *testing.T) {
	for name, broker := range map[string]func(*testing.T) live{"numbered messages": liveBroker, "as brokers come": liveDefault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := broker(t)
			// A broker that deletes a fully settled ledger while it terminates the topic breaks it.
			ns, err := l.admin.Namespace(t.Context(), map[string]any{"retention": map[string]int{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}})
			if err != nil {
				t.Fatal(err)
			}
			topic := "persistent://" + ns + "/ends"
			if err := l.admin.Create(t.Context(), topic, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, 0) })
			w := l.producer(t, topic, nil)
			if err := send(t.Context(), w, numbered(0, 50)...); err != nil {
				t.Fatal(err)
			}
			w.Close() // the library's producer has a data race when it reconnects
			r := l.reader(t, l.config(t), "s", topic)
			p := r.accept()
			msgs := read(t, p, 30)
			settle(t, p, msgs[20].Offset)
			if err := l.admin.Unload(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
			if err := send(t.Context(), l.producer(t, topic, nil), numbered(50, 60)...); err != nil {
				t.Fatal(err)
			}
			lost(t, p)
			if l := r.s.Report().Losses; l.Count == 0 || l.Last != p.ID() || !strings.Contains(l.Why, "unloaded") {
				t.Errorf("losses = %+v, want %v", l, p.ID())
			}
			q := r.accept()
			if q.ID().Epoch <= p.ID().Epoch {
				t.Errorf("epoch %d after %d", q.ID().Epoch, p.ID().Epoch)
			}
			// In the unload the broker may have forgotten its last confirmations. No other message is redelivered or missing.
			more := read(t, q, 1)
			first, err := strconv.Atoi(string(more[0].Value))
			if err != nil || first > 20 {
				t.Fatalf("first message after the unload = %s, want 20 or a settled one before it", more[0].Value)
			}
			more = append(more, read(t, q, 59-first)...)
			for i, m := range more {
				if string(m.Value) != strconv.Itoa(first+i) {
					t.Fatalf("after the unload, message %s is number %d after %d", m.Value, i, first)
				}
			}
			settle(t, q, more[59-first].Offset+1)
			if err := l.admin.Do(t.Context(), http.MethodPost, pulsartest.Path(topic)+"/terminate", nil, nil); err != nil {
				t.Fatal(err)
			}
			// At the end of a topic, and for each consumer attached there, the library closes the connection, unless the broker
			// omits to tell it. So the ownership may end or not, and no message arrives.
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
				err := q.Fetch(ctx, &b)
				cancel()
				if len(b.Messages) > 0 {
					t.Fatalf("read %q from a terminated topic that is settled", b.Messages[0].Value)
				}
				if !errors.Is(err, source.ErrLeaving) {
					break
				}
				lost(t, q)
				q = r.accept()
			}
			release(t, q)
		})
	}
}

// lost waits until a partition is lost, and releases it.
func lost(t *testing.T, p source.Partition) {
	t.Helper()
	select {
	case l := <-p.Leaving():
		if !l.Lost {
			t.Errorf("%v: leave = %+v, want lost", p.ID(), l)
		}
	case <-time.After(20 * time.Second): // real time: a broker is waited for
		t.Fatalf("%v is not lost", p.ID())
	}
	if _, err := p.Commit(t.Context(), &commit.Progress{Epoch: p.ID().Epoch, Frontier: 1 << 62}); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("%v: commit = %v, want ErrFenced", p.ID(), err)
	}
	release(t, p)
}

// Soak: the subscription is deleted under its owner.
func TestSoakSubscriptionIsDeletedUnderItsReader(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := l.topic(t, 0)
	if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 10)...); err != nil {
		t.Fatal(err)
	}
	r := l.reader(t, l.config(t), "s", topic)
	p := r.accept()
	msgs := read(t, p, 10)
	settle(t, p, msgs[4].Offset)
	if err := l.admin.Do(t.Context(), http.MethodDelete, pulsartest.Path(topic)+"/subscription/s?force=true", nil, nil); err != nil {
		t.Fatal(err)
	}
	lost(t, p)
	if l := r.s.Report().Losses; l.Count != 1 || l.Last != p.ID() {
		t.Errorf("losses = %+v, want %v", l, p.ID())
	}
	p = r.accept() // creates the subscription again
	if got := values(read(t, p, 10)); got != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("then read %q", got)
	}
	release(t, p)
}

func TestLiveStart(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := l.topic(t, 0)
	w := l.producer(t, topic, nil)
	if err := send(t.Context(), w, numbered(0, 5)...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // real time: brokers stamp milliseconds
	middle := time.Now()
	id, err := w.Send(t.Context(), &pulsar.ProducerMessage{Payload: []byte("5")})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), w, numbered(6, 8)...); err != nil {
		t.Fatal(err)
	}
	at := MessageID{Ledger: id.LedgerID(), Entry: id.EntryID()}
	past := MessageID{Ledger: 0, Entry: 7}
	for _, c := range []struct {
		name  string
		start Start
		want  string
	}{
		{"earliest", Earliest(), "0 1 2 3 4 5 6 7"},
		{"latest", Latest(), ""},
		{"time", At(middle), "5 6 7"},
		{"behind a message", After(map[string]map[int32]MessageID{topic: {0: at}}), "6 7"},
		{"an id of another cluster, below all", After(map[string]map[int32]MessageID{topic: {0: past}}), "0 1 2 3 4 5 6 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := l.config(t)
			cfg.Start, cfg.Alone = c.start, true
			p := l.reader(t, cfg, strings.ReplaceAll(c.name, " ", "-"), topic).accept()
			defer release(t, p)
			if n := len(strings.Fields(c.want)); n > 0 {
				if got := values(read(t, p, n)); got != c.want {
					t.Errorf("read %q, want %q", got, c.want)
				}
			}
			nothing(t, p)
		})
	}
	t.Run("an id behind the end of the log", func(t *testing.T) {
		t.Parallel()
		cfg := l.config(t)
		cfg.Start, cfg.Alone = After(map[string]map[int32]MessageID{topic: {0: {Ledger: 1 << 40, Entry: 7}}}), true
		l.reader(t, cfg, "above", topic).refused(30*time.Second, errForeign, topic, `"above"`, "1099511627776:7:0")
	})
}

func TestLivePattern(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	ns := l.strict(t)
	make1 := func(name string, partitions int) string {
		topic := "persistent://" + ns + "/" + name
		if err := l.admin.Create(t.Context(), topic, partitions); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, partitions) })
		return topic
	}
	first := make1("orders-a", 2)
	make1("other", 0)
	cfg := l.config(t)
	cfg.Pattern, cfg.Namespace, cfg.AdminURL, cfg.WatchInterval = regexp.MustCompile(`/orders-.$`), ns, l.admin.URL, time.Second
	r := l.reader(t, cfg, "s")
	got := map[string]bool{r.accept().ID().Stream: true, r.accept().ID().Stream: true}
	if !got[first] || len(got) != 1 {
		t.Fatalf("accepted %v", got)
	}
	later := make1("orders-b", 0)
	if p := r.accept(); p.ID().Stream != later {
		t.Errorf("accepted %v, want %s", p.ID(), later)
	}
}
