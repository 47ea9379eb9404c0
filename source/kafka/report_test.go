// Virtual time: every test here makes a bubble, by inWorld.

package kafka_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// fetching calls Fetch of all partitions until the returned function is called.
func (w *world) fetching(ps map[int32]source.Partition) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	for _, p := range ps {
		go func() {
			for ctx.Err() == nil {
				_ = p.Fetch(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
			}
			ended <- struct{}{}
		}()
	}
	return func() {
		cancel()
		for range ps {
			<-ended
		}
	}
}

// trouble returns the only trouble of a source, which must be what.
func (w *world) trouble(s *kafka.Source, what string) string {
	w.t.Helper()
	all := s.Report().Trouble
	if len(all) != 1 || all[0].What != what || all[0].Since.IsZero() {
		w.t.Fatalf("trouble %+v, want %q", all, what)
	}
	return all[0].Err.Error()
}

func TestThrottledPartitionsAreReportedOnce(t *testing.T) {
	inWorld(t, 50, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 50)
		w.cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			resp, _ := r.ResponseKind().(*kmsg.FetchResponse)
			resp.ThrottleMillis = 1500
			return resp, nil, true
		})
		stop := w.fetching(ps)
		time.Sleep(3 * time.Minute)
		text := w.trouble(s, "quota")
		if !strings.Contains(text, "1.5s") || !strings.Contains(text, `"keystrand"`) {
			t.Errorf("trouble %q does not name the duration and the client", text)
		}
		if n := w.told.times("level=WARN", "broker throttles this client", "throttle=1.5s", "client_id=keystrand"); n != 1 {
			t.Errorf("%d lines tell of throttling, want one for all partitions", n)
		}
		if n := w.told.times("level=WARN"); n != 1 {
			t.Errorf("%d warnings, want one", n)
		}
		stop()
		w.close(s, ps)
	})
}

func TestFailedFetchesAreOneTrouble(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 5)
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: w.topic, Err: kerr.KafkaStorageError, Count: -1})
		stop := w.fetching(ps)
		time.Sleep(20 * time.Second)
		if text := w.trouble(s, "fetch"); !strings.Contains(text, "topic t partition 0: ") || !strings.HasSuffix(text, "(and 4 more partitions)") {
			t.Errorf("trouble %q", text)
		}
		h.Remove()
		time.Sleep(20 * time.Second)
		if all := s.Report().Trouble; len(all) != 0 {
			t.Errorf("trouble after the recovery: %+v", all)
		}
		stop()
		w.close(s, ps)
	})
}

func TestHangingTransactionIsTroubleAndBothEndsAreKnown(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 5)
		tx, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.Dialer(w.dial), kgo.TransactionalID("x"),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Close()
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: w.topic, Value: []byte("hangs")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		w.produce(0, 1000)
		s := w.source("g")
		ps := w.accept(s, 1)
		stop := w.fetching(ps)
		time.Sleep(38 * time.Second)
		text := w.trouble(s, "read committed")
		if !strings.Contains(text, "offset 5 ") || !strings.Contains(text, "1006") || !strings.Contains(text, "kafka-transactions.sh") {
			t.Errorf("trouble %q", text)
		}
		if r := s.Report(); len(r.Stalled) != 1 || !r.Ready {
			t.Errorf("the report is %+v", r)
		}
		lag, isLagger := ps[0].(source.Lagger)
		log, isEnder := ps[0].(source.LogEnder)
		if !isLagger || !isEnder {
			t.Fatal("the partition does not tell its ends")
		}
		end, _ := lag.End()
		if logEnd, _ := log.LogEnd(); end != 5 || logEnd != 1006 {
			t.Errorf("End = %d, LogEnd = %d, want 5 and 1006", end, logEnd)
		}
		if n := w.told.times("level=WARN", "open transaction holds messages back", "offset=5", "high_watermark=1006", "for="); n != 1 {
			t.Errorf("it is logged %d times", n)
		}
		if err := tx.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if r := s.Report(); len(r.Stalled)+len(r.Trouble) != 0 {
			t.Errorf("after the end of the transaction the report is %+v", r)
		}
		stop()
		w.close(s, ps)
	})
}
