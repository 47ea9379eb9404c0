package pulsar

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/sinktest"
)

func TestSinkKeepsTheContract(t *testing.T) {
	for _, c := range sinktest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 4})
				f.oneWriter = false
				faults := []fault{}
				f.fault = func(string, []keystrand.Message) fault {
					if len(faults) == 0 {
						return store
					}
					defer func() { faults = faults[1:] }()
					return faults[0]
				}
				f.maxMessage = 2000
				c.Test(t, &sinktest.Env{
					// A short HealTimeout, so that Write reports the faults.
					Sink:          f.sink(t, "", Config{ByStream: true, HealTimeout: 20 * time.Millisecond}),
					MaxBytes:      2001,
					EmptyIsNull:   true,
					HeadersAreMap: true,
					Stored:        func(context.Context) ([]keystrand.Message, error) { return f.read(), nil },
					Trouble:       func() { f.set(func() { faults = []fault{storeCut, fail, failAll, cut, swallow, fail, cut} }) },
				})
				f.check(t)
			})
		})
	}
}

// writeRounds writes ten messages of each of six keys, five at a time, so that faults hit waves of several keys.
func writeRounds(t *testing.T, w sink.Writer, between func(round int)) {
	t.Helper()
	for round := range 10 {
		var ms []keystrand.Message
		for n := range 5 {
			for k := range 6 {
				ms = append(ms, keyed(fmt.Sprintf("key%d=%d", k, round*5+n))...)
			}
		}
		between(round)
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// checkOrder checks that every value is stored once in order, or more often in runs that start at a stored value.
func checkOrder(t *testing.T, ms []keystrand.Message, again bool) {
	t.Helper()
	by := values(ms)
	if len(by) != 6 {
		t.Errorf("%d keys are stored, want 6", len(by))
	}
	for k, vs := range by {
		next := 0
		for v := range strings.FieldsSeq(vs) {
			var n int
			if _, err := fmt.Sscan(v, &n); err != nil {
				t.Fatal(err)
			}
			if n > next || n < next && !again {
				t.Fatalf("%s: got %d, want %d: %s", k, n, next, vs)
			}
			next = max(next, n+1)
		}
		if next != 50 {
			t.Errorf("%s ends at %d, want 50: %s", k, next, vs)
		}
	}
}

func TestSinkRetriesTransientErrorsInOrder(t *testing.T) {
	quota := errors.New("server error: ProducerBlockedQuotaExceededException: Cannot create producer on topic with backlog quota exceeded")
	for name, x := range map[string]struct {
		faults []fault // one per entry, from the start of each round
		send   error   // of one SendAsync per round
		open   []error // of the calls of Produce
		again  bool    // the broker stores a message that it does not confirm
	}{
		"connection lost before the entry":    {faults: []fault{cut, store, cut, cut}},
		"connection lost behind the entry":    {faults: []fault{storeCut, store, storeCut, storeCut}, again: true},
		"first entry fails alone":             {faults: []fault{fail}},
		"entry fails alone between others":    {faults: []fault{store, fail, store, store, fail}},
		"quota fails what is on its way":      {faults: []fault{store, failAll}, open: []error{quota, quota}},
		"no answer, for the library's reason": {faults: []fault{store, swallow}},
		"producer closes in the sender":       {send: errPanic},
		"producer is closed":                  {send: pulsar.ErrProducerClosed},
		"batches dropped without a callback":  {faults: []fault{store, dropRest}},
		"broker away when a producer opens":   {faults: []fault{fail}, open: []error{errors.New("connection error"), errors.New("request timed out")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 3})
				f.closing = 200 * time.Millisecond
				w := f.writer(t, "out", Config{MaxBatchBytes: 1000, HealTimeout: time.Minute, RequestTimeout: time.Second})
				faults, send, opens := []fault{}, error(nil), []error{}
				f.fault = func(string, []keystrand.Message) fault {
					if len(faults) == 0 {
						return store
					}
					defer func() { faults = faults[1:] }()
					return faults[0]
				}
				f.sendFault = func(m *pulsar.ProducerMessage) error {
					if bytes.HasSuffix(m.Payload, []byte("3")) && m.Key == "key3" {
						defer func() { send = nil }()
						return send
					}
					return nil
				}
				f.openFault = func(string) (err error) {
					f.set(func() {
						if len(opens) > 0 {
							err, opens = opens[0], opens[1:]
						}
					})
					return err
				}
				if slices.Contains(x.faults, swallow) || slices.Contains(x.faults, dropRest) {
					writeUntilDurable(t, w, func(int) {
						f.set(func() { faults, send, opens = slices.Clone(x.faults), x.send, slices.Clone(x.open) })
					})
				} else {
					writeRounds(t, w, func(int) {
						f.set(func() { faults, send, opens = slices.Clone(x.faults), x.send, slices.Clone(x.open) })
					})
				}
				checkOrder(t, f.read(), x.again)
			})
		})
	}
}

// writeUntilDurable is writeRounds, but writes failed messages again, like a pipeline.
func writeUntilDurable(t *testing.T, w sink.Writer, between func(round int)) {
	t.Helper()
	for round := range 10 {
		var ms []keystrand.Message
		for n := range 5 {
			for k := range 6 {
				ms = append(ms, keyed(fmt.Sprintf("key%d=%d", k, round*5+n))...)
			}
		}
		between(round)
		for len(ms) > 0 {
			ms = leftOf(t, w.Write(t.Context(), ms), ms)
		}
	}
}

// leftOf returns the messages to write again.
func leftOf(t *testing.T, err error, ms []keystrand.Message) []keystrand.Message {
	t.Helper()
	if err == nil {
		return nil
	}
	p, ok := errors.AsType[*sink.PartialError](err)
	if !ok {
		return ms
	}
	var left []keystrand.Message
	gap := make(map[string]bool)
	for i, err := range p.Errs {
		k := string(ms[i].Key)
		if err == nil && gap[k] {
			t.Errorf("%s=%s is reported durable, but an earlier message of its key is not", k, ms[i].Value)
		}
		if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
			t.Errorf("%s=%s failed permanently: %v", k, ms[i].Value, err)
		}
		if err != nil {
			gap[k] = true
			left = append(left, ms[i])
		}
	}
	return left
}

// After a canceled Write, the library must not send a message later: the next owner may already have written later ones.
func TestMessagesOfACanceledWriteAreNotSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		away := true
		f.fault = func(string, []keystrand.Message) fault {
			if away {
				return cut
			}
			return store
		}
		w := f.writer(t, "out", Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := w.Write(ctx, keyed("a=1", "a=2")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error: %v", err)
		}
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("Write returned after %v, want 50ms", d)
		}
		time.Sleep(time.Second)
		f.set(func() { away = false })
		time.Sleep(time.Hour)
		if got := f.read(); len(got) > 0 {
			t.Errorf("messages of the canceled Write are stored an hour later: %v", values(got))
		}
		if err := w.Write(t.Context(), keyed("a=3")); err != nil {
			t.Error(err)
		}
	})
}

func TestSilentPartitionIsReportedAndOthersAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 2})
		silent := "out-partition-1"
		f.fault = func(topic string, _ []keystrand.Message) fault {
			if topic == silent {
				return swallow
			}
			return store
		}
		var logged bytes.Buffer
		w := f.writer(t, "out", Config{
			HealTimeout: 3 * time.Second, Partitioner: func(key []byte, _ int) int { return int(key[0]-'a') % 2 },
			Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		start := time.Now()
		err := w.Write(t.Context(), keyed("a=1", "b=1", "a=2", "b=2"))
		if d := time.Since(start); d < 3*time.Second || d > 3*time.Second+100*time.Millisecond {
			t.Errorf("Write returned after %v", d)
		}
		p, ok := errors.AsType[*sink.PartialError](err)
		if !ok || p.Errs[0] != nil || p.Errs[2] != nil || p.Errs[1] == nil || p.Errs[3] == nil || !strings.Contains(p.Errs[1].Error(), silent) {
			t.Fatalf("error: %v", err)
		}
		// Meanwhile messages without a key go to other partitions.
		ms := make([]keystrand.Message, 4)
		for i := range ms {
			ms[i].Value = []byte("x")
		}
		for range 4 {
			if err := w.Write(t.Context(), ms); err != nil {
				t.Errorf("without a key: %v", err)
			}
		}
		f.set(func() { silent = "" })
		if err := w.Write(t.Context(), keyed("b=1", "b=2")); err != nil {
			t.Error(err)
		}
		if n := strings.Count(logged.String(), "level=WARN"); n != 1 || strings.Count(logged.String(), "write to partition recovered") != 1 {
			t.Errorf("want one line for the failure and one for the recovery:\n%s", &logged)
		}
	})
}

// A message that fails for a day is written again every few seconds.
func TestErrorDoesNotGrowWithTheNumberOfWrites(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(f *fake)
		says    string
	}{
		"a silent broker":                 {func(f *fake) { f.fault = func(string, []keystrand.Message) fault { return swallow } }, "still failing"},
		"a producer that does not close":  {func(f *fake) { f.closing, f.fault = time.Hour, func(string, []keystrand.Message) fault { return fail } }, "close the previous producer"},
		"a producer that is never opened": {func(f *fake) { f.openFault = func(string) error { time.Sleep(time.Hour); return nil } }, "open a producer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				c.prepare(f)
				s := f.sink(t, "out", Config{})
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				var size int
				for i := range 20 {
					err = w.Write(t.Context(), keyed("a=1"))
					if err == nil {
						t.Fatal("Write returned no error")
					}
					if i == 3 {
						size = len(err.Error())
					}
				}
				if n := len(err.Error()); n > size || !strings.Contains(err.Error(), c.says) {
					t.Errorf("after 20 Writes the error has %d bytes, after 4 it has %d: %v; want %q", n, size, err, c.says)
				}
				_ = w.Close()
				_ = s.Close()
				time.Sleep(24 * time.Hour)
			})
		})
	}
}

// A topic is recreated with fewer partitions. With allowAutoTopicCreation, a producer of a deleted partition that reconnects
// would create it again.
func TestProducersOfDeletedPartitionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 3})
		w := f.writer(t, "out", Config{Partitioner: func(key []byte, n int) int { return int(key[0]-'a') % n }})
		if err := w.Write(t.Context(), keyed("a=1", "b=1", "c=1")); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.partitions["out"] = 1 })
		time.Sleep(time.Minute + time.Millisecond)
		if err := w.Write(t.Context(), keyed("a=2", "b=2")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.set(func() {
			for name, n := range f.open {
				if n > 0 && name != "out-partition-0" {
					t.Errorf("%d producers of %s are open", n, name)
				}
			}
		})
	})
}

// If the library stores a message behind a failed one of its key, the message is not durable. It is written again.
func TestDurableIsNeverReportedBehindAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		f.pieces = true
		faults := []fault{fail, store, fail}
		f.fault = func(string, []keystrand.Message) fault {
			if len(faults) == 0 {
				return store
			}
			defer func() { faults = faults[1:] }()
			return faults[0]
		}
		opened := 0
		f.openFault = func(string) error {
			if opened++; opened == 2 {
				return errors.New("server error: IncompatibleSchema: no") // ends the Write
			}
			return nil
		}
		w := f.writer(t, "out", Config{})
		ms := keyed("a=1", "b=1", "c=1", "a=2", "c=2")
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok || p.Errs[0] == nil || p.Errs[1] != nil || p.Errs[2] == nil || p.Errs[3] == nil || p.Errs[4] == nil {
			t.Fatalf("error: %v", p)
		}
		if err := w.Write(t.Context(), []keystrand.Message{ms[0], ms[2], ms[3], ms[4]}); err != nil {
			t.Fatal(err)
		}
		if got := values(f.read()); got["a"] != "2 1 2" || got["b"] != "1" || got["c"] != "2 1 2" {
			t.Errorf("stored %v", got)
		}
	})
}

func TestQuotaIsBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		full := true
		f.openFault = func(string) (err error) {
			f.set(func() {
				if full {
					err = errors.New("server error: ProducerBlockedQuotaExceededError: Cannot create producer on topic with backlog quota exceeded")
				}
			})
			return err
		}
		w := f.writer(t, "out", Config{})
		start := time.Now()
		err := w.Write(t.Context(), keyed("a=1"))
		if o, _ := keystrand.OutcomeOf(err); err == nil || o == keystrand.OutcomePermanent || time.Since(start) > 11*time.Second || !strings.Contains(err.Error(), "Quota") {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		time.AfterFunc(4*time.Second, func() { f.set(func() { full = false }) })
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Errorf("below the quota: %v", err)
		}
	})
}

func TestQueueNeverDeadlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 2})
		w := f.writer(t, "out", Config{})
		var ms []keystrand.Message
		for i := range 7000 {
			ms = append(ms, keyed(fmt.Sprintf("key%d=%d", i%5, i))...)
		}
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		if n := len(f.read()); n != 7000 {
			t.Errorf("%d stored", n)
		}
	})
}

func TestTerminatedTopicIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0, "gone": 0})
		f.fault = func(string, []keystrand.Message) fault { return terminate }
		w := f.writer(t, "out", Config{})
		err := w.Write(t.Context(), keyed("a=1", "b=1"))
		p, ok := errors.AsType[*sink.PartialError](err)
		if !ok {
			t.Fatal(err)
		}
		for _, err := range p.Errs {
			if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || !errors.Is(err, pulsar.ErrTopicTerminated) || !strings.Contains(err.Error(), "out") {
				t.Errorf("error: %v", err)
			}
		}
	})
}

func TestBrokerErrorIsRetriedOrReportedByItsKind(t *testing.T) {
	for text, want := range map[string]struct {
		outcome keystrand.Outcome
		took    time.Duration // at most
	}{
		"server error: AuthorizationError: Client is not authorized":       {keystrand.OutcomePermanent, time.Second},
		"server error: TopicTerminatedError: Topic was already terminated": {keystrand.OutcomePermanent, time.Second},
		"TopicNotFound":                        {keystrand.OutcomeFailed, time.Second},
		"server error: IncompatibleSchema: no": {keystrand.OutcomeFailed, time.Second},
		"server error: ServiceNotReady: Topic is temporarily unavailable": {keystrand.OutcomeFailed, time.Hour},
	} {
		t.Run(text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				f.openFault = func(string) error { return errors.New(text) }
				w := f.writer(t, "out", Config{})
				start := time.Now()
				err := w.Write(t.Context(), keyed("a=1"))
				if p, ok := errors.AsType[*sink.PartialError](err); ok {
					err = p.Errs[0]
				}
				if o, _ := keystrand.OutcomeOf(err); o != want.outcome || !strings.Contains(err.Error(), "out") || !strings.Contains(err.Error(), text) {
					t.Errorf("outcome %v, want %v: %v", o, want.outcome, err)
				}
				if d := time.Since(start); d > want.took {
					t.Errorf("Write returned after %v, want at most %v", d, want.took)
				}
			})
		})
	}
}

// When the library (v0.19.0) gives up a look-up, its error is DeadlineExceeded for any cause.
func TestRefusedConnectionIsReportedWhenTheLookUpEnds(t *testing.T) {
	for name, writes := range map[string]func(s *troubles){
		"refused token": func(s *troubles) {
			s.note("fake:6650", "Failed to establish connection with broker: 'no such token'", nil)
		},
		"unknown authority": func(s *troubles) {
			s.note("fake:6650", "Failed to connect to broker.", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
		},
		"no TLS there": func(s *troubles) {
			s.note("fake:6650", "Failed to connect to broker.", tls.RecordHeaderError{Msg: "no such token"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				s := f.sink(t, "out", Config{RequestTimeout: time.Second, HealTimeout: time.Minute})
				f.askFault = func(string) error {
					f.mu.Unlock()
					defer f.mu.Lock()
					time.Sleep(time.Second)
					writes(s.troubles)
					return errors.Join(context.DeadlineExceeded, errors.New("connection error"))
				}
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				err = w.Write(t.Context(), keyed("a=1"))
				if d := time.Since(start); d != time.Second+time.Millisecond {
					t.Errorf("Write returned after %v, but the look-up took 1s", d)
				}
				if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent || err == nil || !strings.Contains(err.Error(), "out") {
					t.Errorf("error: %v", err)
				}
				_ = w.Close()
				_ = s.Close()
			})
		})
	}
}

func TestTooLargeMessageFailsAlone(t *testing.T) {
	for name, limit := range map[string]func(f *fake){
		"by the library": func(f *fake) { f.maxMessage = 100 },
		"by its size":    func(*fake) {},
		"by the batch": func(f *fake) {
			f.fault = func(_ string, ms []keystrand.Message) fault {
				for _, m := range ms {
					if len(m.Value) > 100 {
						return dropRest
					}
				}
				return store
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				limit(f)
				w := f.writer(t, "out", Config{MaxMessageBytes: 2000, MaxBatchBytes: 2000})
				ms := keyed("a=1", "b=1", "b=2", "a=2", "b=3", "c=1")
				ms[2].Value = bytes.Repeat([]byte("x"), 1900)
				if name != "by its size" {
					ms[2].Value = ms[2].Value[:200]
				}
				err := w.Write(t.Context(), ms)
				p, ok := errors.AsType[*sink.PartialError](err)
				if !ok {
					t.Fatal(err)
				}
				for i, err := range p.Errs {
					o, _ := keystrand.OutcomeOf(err)
					switch {
					case i == 2 && o != keystrand.OutcomePermanent, i == 4 && !errors.Is(err, sink.ErrBehind), i != 2 && i != 4 && err != nil:
						t.Errorf("message %d: %v", i, err)
					}
				}
				if got := values(f.read()); got["a"] != "1 2" || got["b"] != "1" || got["c"] != "1" {
					t.Errorf("stored %v", got)
				}
			})
		})
	}
}

func TestKeysUseThePartitionsOfTheJavaClientAndNullKeysAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 3})
		w := f.writer(t, "out", Config{})
		java := map[string]int32{"hello": 99162322, "test": 3556498, "order-4711": 708276994}
		var ms []keystrand.Message
		for k := range java {
			ms = append(ms, keyed(k+"=x")...)
		}
		for range 1000 {
			ms = append(ms, keystrand.Message{Value: []byte("y")})
		}
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		keyless := make(map[int32]int)
		for _, m := range f.read() {
			if m.Key == nil {
				keyless[m.Partition]++
			} else if m.Partition != java[string(m.Key)]%3 {
				t.Errorf("key %s is in partition %d", m.Key, m.Partition)
			}
		}
		for p, n := range keyless {
			if n < 300 {
				t.Errorf("partition %d got %d of 1000 messages without a key", p, n)
			}
		}

		// The topic grows. The new partitions are used within a minute.
		f.set(func() { f.partitions["out"] = 8 })
		time.Sleep(time.Minute + time.Millisecond)
		if err := w.Write(t.Context(), keyed("test=z")); err != nil {
			t.Fatal(err)
		}
		got := f.read()
		if !slices.ContainsFunc(got, func(m keystrand.Message) bool { return string(m.Value) == "z" && m.Partition == 3556498%8 }) {
			t.Error("the new partitions are not used")
		}
	})
}

func TestByStreamUsesTheStreamAsTopicAndRefusesInvalidOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"one": 0, "persistent://a/b/two": 2})
		w := f.writer(t, "", Config{ByStream: true})
		ms := keyed("a=1", "a=2", "a=3", "a=4", "a=5", "a=6")
		for i, s := range []string{"one", "persistent://a/b/two", "", "non-persistent://a/b/c", "x/y", "missing"} {
			ms[i].Stream = s
		}
		err := w.Write(t.Context(), ms)
		p, ok := errors.AsType[*sink.PartialError](err)
		if !ok {
			t.Fatal(err)
		}
		for i, err := range p.Errs {
			o, _ := keystrand.OutcomeOf(err)
			if (err == nil) != (i < 2) || (o == keystrand.OutcomePermanent) != (i > 1 && i < 5) {
				t.Errorf("stream %q: %v", ms[i].Stream, err)
			}
		}
		if got := values(f.read())["a"]; got != "1 2" {
			t.Errorf("stored %q", got)
		}
	})
}

func TestMissingTopicIsLookedUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{})
		w := f.writer(t, "out", Config{})
		err := w.Write(t.Context(), keyed("a=1"))
		if o, _ := keystrand.OutcomeOf(err); err == nil || o == keystrand.OutcomePermanent || !strings.Contains(err.Error(), "out") {
			t.Errorf("error: %v", err)
		}
		f.set(func() { f.partitions["out"] = 2 })
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Error(err)
		}
		// The topic is recreated without partitions. The producers fail with TopicNotFound; the next Write looks the topic up.
		f.set(func() { f.partitions["out"] = 0 })
		f.openFault = func(topic string) error {
			if topic != "out" {
				return errors.New("server error: TopicNotFound: gone")
			}
			return nil
		}
		once := true
		f.fault = func(string, []keystrand.Message) fault {
			if once {
				once = false
				return fail
			}
			return store
		}
		if err := w.Write(t.Context(), keyed("a=2")); err == nil {
			t.Error("Write to a deleted partition returned no error")
		}
		if err := w.Write(t.Context(), keyed("a=2")); err != nil {
			t.Error(err)
		}
	})
}

func TestEndedContextEndsEveryWait(t *testing.T) {
	hang := func(string) error { time.Sleep(20 * time.Second); return nil }
	for name, prepare := range map[string]func(f *fake){
		"looking the topic up": func(f *fake) { f.askFault = func(string) error { f.mu.Unlock(); defer f.mu.Lock(); return hang("") } },
		"opening a producer":   func(f *fake) { f.openFault = hang },
		"a silent broker":      func(f *fake) { f.fault = func(string, []keystrand.Message) fault { return swallow } },
		"a full queue":         func(f *fake) { f.queue = 1 },
		"a reconnect":          func(f *fake) { f.fault = func(string, []keystrand.Message) fault { return cut } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 2})
				prepare(f)
				s := f.sink(t, "out", Config{RequestTimeout: 10 * time.Second, HealTimeout: time.Hour})
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("the drain is over"))
				defer cancel()
				start := time.Now()
				err = w.Write(ctx, keyed("a=1", "a=2", "b=1", "b=2"))
				if err == nil || !strings.Contains(err.Error(), "the drain is over") || time.Since(start) != time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil { // the running calls end before its timeout
					t.Error(err)
				}
				f.check(t)
			})
		})
	}
}

func TestCloseIsBoundedAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble ends only after all goroutines
		f := newFake(map[string]int{"out": 2})
		s := f.sink(t, "out", Config{RequestTimeout: time.Second})
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), keyed("a=1", "b=1")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err == nil {
			t.Error("Close of a sink with an open writer returned no error")
		}
		f.set(func() { f.closing = 5 * time.Second })
		start := time.Now()
		if err := w.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if err := s.Close(); err == nil || time.Since(start) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := s.Open(); err == nil {
			t.Error("a closed sink opened a writer")
		}
		time.Sleep(10 * time.Second)
		f.check(t)
	})
}

func TestNewReturnsAllConfigurationErrors(t *testing.T) {
	_, err := New("kafka://user:secret@x", "a/b", Config{
		Compression: 9, MaxBatchBytes: -1, MaxMessageBytes: -2, RequestTimeout: -1, HealTimeout: -1, MetadataMaxAge: -1,
	})
	if err == nil {
		t.Fatal("New returned no error")
	}
	for _, want := range []string{"kafka", "a/b", "Compression", "MaxBatchBytes", "MaxMessageBytes", "RequestTimeout", "HealTimeout", "MetadataMaxAge"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error contains a secret: %v", err)
	}
	for url, good := range map[string]bool{
		"pulsar://a:6650": true, "pulsar://a:6650,b:6650,[::1]:6650,c": true, "pulsar+ssl://a:6651,b:6651": true,
		"pulsar://a:6650,b:6650:1": false, "pulsar://a:6650,pulsar://b:6650": false, "pulsar://a:6650,": false, "pulsar://me:secret@a": false,
	} {
		s, err := New(url, "out", Config{})
		if good != (err == nil) {
			t.Errorf("New with %s = %v", url, err)
		}
		if err == nil {
			_ = s.Close()
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("a secret in: %v", err)
		}
	}
	for _, bad := range []string{"non-persistent://a/b/c", "x://a/b/c", "persistent://a", "a//b", "/b/c"} {
		if _, err := New("pulsar://x:1", bad, Config{}); err == nil {
			t.Errorf("topic %q is accepted", bad)
		}
	}
}
