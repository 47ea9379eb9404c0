package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/sinktest"
)

func TestSinkKeepsTheContract(t *testing.T) {
	for _, c := range sinktest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(4, "out"))
				c.Test(t, &sinktest.Env{
					// A short HealTimeout, so that Write reports the faults.
					Sink:     f.sink(t, "", Config{ByStream: true, HealTimeout: 100 * time.Millisecond, MaxBatchBytes: 2000}),
					MaxBytes: 2000,
					Stored: func(ctx context.Context) ([]keystrand.Message, error) {
						return readAll(ctx, f.ListenAddrs(), []string{"out"}, kgo.Dialer(f.net.DialContext))
					},
					Trouble: func() {
						f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1, 2}, Err: kerr.NotLeaderForPartition, Count: 2})
						f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3})
					},
				})
			})
		})
	}
}

// writeRounds writes ten messages of each of six keys, five at a time, so that faults hit batches of several keys.
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
	for name, x := range map[string]struct {
		fault kfake.Fault
		again bool // the broker may store a batch that it does not confirm
	}{
		"not the leader":             {fault: kfake.Fault{Err: kerr.NotLeaderForPartition}},
		"one partition only":         {fault: kfake.Fault{Err: kerr.NotLeaderForPartition, Partitions: []int32{1}, Count: 3}},
		"leader fenced":              {fault: kfake.Fault{Err: kerr.FencedLeaderEpoch, Count: 2}},
		"too few replicas":           {fault: kfake.Fault{Err: kerr.NotEnoughReplicas, Count: 4}},
		"too few replicas, too late": {fault: kfake.Fault{Err: kerr.NotEnoughReplicasAfterAppend, Count: 2}, again: true},
		"timed out at the broker":    {fault: kfake.Fault{Err: kerr.RequestTimedOut, Count: 2}, again: true},
		"topic not known yet":        {fault: kfake.Fault{Err: kerr.UnknownTopicOrPartition, Count: 2}},
		"disk trouble":               {fault: kfake.Fault{Err: kerr.KafkaStorageError}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(3, "out"))
				w := f.writer(t, "out", Config{MaxBatchBytes: 300}) // several batches per Write
				x.fault.Keys = []kmsg.Key{kmsg.Produce}
				writeRounds(t, w, func(int) { f.Fault(x.fault) })
				checkOrder(t, f.read(t, "out"), x.again)
			})
		})
	}
}

func TestProduceRequestWantsAllReplicasAndIsWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(2, "out"))
		var seen []string
		f.KeepControl()
		f.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			req, _ := kreq.(*kmsg.ProduceRequest)
			if req.Acks != -1 || req.TimeoutMillis != 7500 {
				seen = append(seen, fmt.Sprintf("acks %d, timeout %d ms", req.Acks, req.TimeoutMillis))
			}
			for _, rt := range req.Topics {
				for _, rp := range rt.Partitions {
					if len(rp.Records) > 300 {
						seen = append(seen, fmt.Sprintf("a batch of %d bytes", len(rp.Records)))
					}
				}
			}
			return nil, nil, false
		})
		f.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			if req, _ := kreq.(*kmsg.MetadataRequest); req.Topics == nil || req.AllowAutoTopicCreation {
				seen = append(seen, "metadata of all topics, or with creation")
			}
			return nil, nil, false
		})
		w := f.writer(t, "out", Config{MaxBatchBytes: 300})
		writeRounds(t, w, func(int) { time.Sleep(time.Second) })
		if seen != nil {
			t.Errorf("want acks -1, timeout 7500 ms and at most 300 bytes: %v", seen)
		}
	})
}

func TestSinkFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(3, "out"))
		w := f.writer(t, "out", Config{})
		start := time.Now()
		writeRounds(t, w, func(int) { f.ShufflePartitionLeaders() })
		checkOrder(t, f.read(t, "out"), false)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("ten moves of the leaders took %v: the metadata is not requested at once", d)
		}
	})
}

// A Write may end before it requests the metadata again. The next Write must request it, or it uses the outdated leader until
// MetadataMaxAge is over.
func TestNextWriteRequestsAMovedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		w := f.writer(t, "out", Config{})
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		if err := f.MoveTopicPartition("out", 0, (f.LeaderFor("out", 0)+1)%3); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := w.Write(ctx, keyed("a=2")); !errors.Is(err, kafka.NotLeaderForPartition) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the first Write after the move: %v", err)
		}
		start := time.Now()
		if err := w.Write(t.Context(), keyed("a=2")); err != nil {
			t.Errorf("the second Write after the move: %v", err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the second Write retried for %v, want no retry", d)
		}
	})
}

// cutter is a network that can close a connection before the reply to a produce request arrives.
type cutter struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	cut  atomic.Int32 // number of replies to large requests to lose
}

func (c *cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, cutter: c}, nil
}

type cutConn struct {
	net.Conn

	cutter  *cutter
	produce bool // the last request was a produce request
}

func (c *cutConn) Write(b []byte) (int, error) {
	// size int32, api key int16, version int16. The key of produce is 0. No other request of the sink has it.
	c.produce = len(b) > 8 && b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] >= 3
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.produce {
		c.produce = false
		if c.cutter.cut.Add(-1) >= 0 {
			n, err := c.Conn.Read(b) // the broker has answered, so it has stored the batch
			_, _ = n, c.Conn.Close()
			return 0, errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	return c.Conn.Read(b)
}

func TestSinkWritesAgainInOrderAfterLostReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(3, "out"))
		c := &cutter{dial: f.net.DialContext}
		w := f.writer(t, "out", Config{Dial: c.DialContext})
		writeRounds(t, w, func(round int) { c.cut.Store(int32(round % 4)) })
		ms := f.read(t, "out")
		checkOrder(t, ms, true)
		if len(ms) <= 300 {
			t.Errorf("%d messages are stored, so no reply was lost", len(ms))
		}
	})
}

func TestSinkSurvivesABrokerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(3, "out"))
		w := f.writer(t, "out", Config{})
		port := func(node int) int {
			_, p, err := net.SplitHostPort(f.ListenAddrs()[node])
			if err != nil {
				t.Fatal(err)
			}
			var n int
			if _, err := fmt.Sscan(p, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		p := port(1)
		writeRounds(t, w, func(round int) {
			if round != 3 {
				return
			}
			if err := f.RemoveNode(1); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(3*time.Second, func() {
				if _, _, err := f.AddNode(1, p); err != nil {
					t.Error(err)
				}
			})
		})
		checkOrder(t, f.read(t, "out"), true)
	})
}

func TestWriteRetriesUntilTheClusterIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		up := time.Now().Add(3 * time.Second)
		w := f.writer(t, "out", Config{HealTimeout: 10 * time.Second, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if time.Now().Before(up) {
				return nil, errors.New("connection refused")
			}
			return f.net.DialContext(ctx, network, address)
		}})
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(up); d > 2*time.Second {
			t.Errorf("Write returned %v after the cluster was up", d)
		}
	})
}

func TestWriteReportsTransientErrorsAfterHealTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(3, "out"))
		h := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1}, Err: kerr.NotEnoughReplicas, Count: -1})
		var log bytes.Buffer
		w := f.writer(t, "out", Config{HealTimeout: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var ms []keystrand.Message
		for k := range 20 {
			ms = append(ms, keyed(fmt.Sprintf("key%d=1", k), fmt.Sprintf("key%d=2", k))...)
		}
		start := time.Now()
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok || time.Since(start) != 2*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), p)
		}
		for i, err := range p.Errs {
			if part := Murmur2(ms[i].Key, 3); (err != nil) != (part == 1) {
				t.Errorf("message %d of partition %d: %v", i, part, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "out/1") || !errors.Is(err, kafka.NotEnoughReplicas)) {
				t.Errorf("error %v does not name the partition or the cause", err)
			}
			if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
				t.Errorf("a transient error is permanent: %v", err)
			}
		}
		if n := strings.Count(log.String(), "write to partition failed"); n != 1 {
			t.Errorf("the failure was logged %d times, want once:\n%s", n, log.String())
		}
		h.Remove()
		if err := w.Write(t.Context(), ms); err != nil {
			t.Error(err)
		}
	})
}

// A broker that is down is one line and not one for each partition, writer and Write. The end is another one.
func TestFailingWritesOfManyPartitionsAndWritersAreOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(20, "out"))
		h := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		var log bytes.Buffer
		s := f.sink(t, "out", Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var writers []sink.Writer
		for range 4 {
			w, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			writers = append(writers, w)
		}
		t.Cleanup(func() {
			for _, w := range writers {
				_ = w.Close()
			}
			_ = s.Close()
		})
		var ms []keystrand.Message
		for k := range 50 {
			ms = append(ms, keyed(fmt.Sprintf("key%d=1", k))...)
		}
		for range 3 { // as the pipeline retries
			for _, w := range writers {
				if err := w.Write(t.Context(), ms); err == nil {
					t.Fatal("Write succeeded")
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = writers[0].Write(ctx, ms)
		if n := strings.Count(log.String(), "write to partition failed"); n != 1 {
			t.Errorf("%d lines about failures, want 1:\n%s", n, log.String())
		}
		h.Remove()
		for _, w := range writers {
			if err := w.Write(t.Context(), ms); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(log.String(), "writes recovered"); n != 1 {
			t.Errorf("%d lines of recovery, want 1:\n%s", n, log.String())
		}
	})
}

// A leader that stops answering must not block a Write after its ctx ends. A canceled request must not be sent later.
func TestWriteEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		w := f.writer(t, "out", Config{})
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		hang := make(chan struct{})
		f.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			f.SleepControl(func() { <-hang })
			return nil, errors.New("cut"), true
		})
		stop := errors.New("drain is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		start := time.Now()
		err := w.Write(ctx, keyed("a=2"))
		if !errors.Is(err, stop) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(hang)
		if err := w.Write(t.Context(), keyed("a=3")); err != nil {
			t.Error(err)
		}
		if got := values(f.read(t, "out"))["a"]; got != "1 3" {
			t.Errorf("stored: %s, want 1 3", got)
		}
	})
}

func TestHungBrokerCostsOneRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		var hang atomic.Bool
		hang.Store(true)
		w := f.writer(t, "out", Config{RequestTimeout: 4 * time.Second, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := f.net.DialContext(ctx, network, address)
			return &muteConn{conn, &hang}, err
		}})
		time.AfterFunc(time.Second, func() { hang.Store(false) })
		start := time.Now()
		if err := w.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// muteConn discards writes while mute is set, so that the broker never answers.
type muteConn struct {
	net.Conn

	mute *atomic.Bool
}

func (c *muteConn) Write(b []byte) (int, error) {
	if c.mute.Load() && len(b) > 8 && !(b[4] == 0 && b[5] == 18) { // 18 is ApiVersions, which the library sends first
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestBatchIsSplitIfTheBrokerHasALowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The limit of the topic is below MaxBatchBytes. Only the large message fails, permanently.
		f := newFake(t, kfake.SeedTopics(0, "none"))
		if err := f.CreateTopic("out", 1, map[string]string{"max.message.bytes": "500"}); err != nil {
			t.Fatal(err)
		}
		w := f.writer(t, "out", Config{})
		var ms []keystrand.Message
		for i := range 40 {
			ms = append(ms, keyed(fmt.Sprintf("key%d=%d", i%4, i))...)
		}
		const large = 22 // of key2
		ms[large].Value = bytes.Repeat([]byte("x"), 600)
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok {
			t.Fatal("no *PartialError")
		}
		for i, err := range p.Errs {
			o, _ := keystrand.OutcomeOf(err)
			switch {
			case i == large:
				if o != keystrand.OutcomePermanent || !errors.Is(err, kafka.MessageSizeTooLarge) {
					t.Errorf("the large message: %v", err)
				}
			case i > large && i%4 == large%4:
				if !errors.Is(err, sink.ErrBehind) || o == keystrand.OutcomePermanent {
					t.Errorf("message %d behind it: %v", i, err)
				}
			case err != nil:
				t.Errorf("message %d: %v", i, err)
			}
		}
		got := values(f.read(t, "out"))
		want := map[string]string{"key0": "0 4 8 12 16 20 24 28 32 36", "key1": "1 5 9 13 17 21 25 29 33 37", "key2": "2 6 10 14 18", "key3": "3 7 11 15 19 23 27 31 35 39"}
		if !maps.Equal(got, want) {
			t.Errorf("stored %v, want %v", got, want)
		}
	})
}

func TestRecordNamedByTheBrokerFailsPermanently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		f.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			req, _ := kreq.(*kmsg.ProduceRequest)
			res, _ := req.ResponseKind().(*kmsg.ProduceResponse)
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic = req.Topics[0].Topic
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.ErrorCode = kerr.InvalidRecord.Code
			re := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			re.RelativeOffset, re.ErrorMessage = 1, new("compacted topic cannot accept message without key")
			rp.ErrorRecords = append(rp.ErrorRecords, re)
			rt.Partitions = append(rt.Partitions, rp)
			res.Topics = append(res.Topics, rt)
			return res, nil, true
		})
		w := f.writer(t, "out", Config{})
		ms := keyed("a=1", "b=2", "a=3")
		ms[1].Key = nil
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok || p.Errs[0] != nil || p.Errs[2] != nil {
			t.Fatalf("%v", p)
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[1]); o != keystrand.OutcomePermanent || !strings.Contains(p.Errs[1].Error(), "without key") {
			t.Errorf("the named record: %v", p.Errs[1])
		}
		if got := values(f.read(t, "out"))["a"]; got != "1 3" {
			t.Errorf("stored: %s, want 1 3", got)
		}
	})
}

func TestByStreamWritesToTheTopicOfTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(2, "one", "two"))
		w := f.writer(t, "", Config{ByStream: true, HealTimeout: time.Second})
		ms := keyed("a=1", "a=2", "a=3", "a=4", "a=5")
		ms[0].Stream, ms[1].Stream, ms[2].Stream, ms[3].Stream = "one", "two", "one", "missing"
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok || p.Errs[0] != nil || p.Errs[1] != nil || p.Errs[2] != nil {
			t.Fatalf("%v", p)
		}
		if err := p.Errs[3]; !errors.Is(err, kafka.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("missing topic: %v", err)
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[3]); o == keystrand.OutcomePermanent {
			t.Error("missing topic: the error is permanent, but the topic may be created later")
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[4]); o != keystrand.OutcomePermanent {
			t.Errorf("message without a topic: %v, want a permanent error", p.Errs[4])
		}
		if got := values(f.read(t, "one", "two"))["a"]; got != "1 3 2" && got != "2 1 3" && got != "1 2 3" {
			t.Errorf("stored: %s", got)
		}
		if f.TopicInfo("missing") != nil {
			t.Error("the sink has created a topic")
		}
		if err := f.CreateTopic("missing", 1, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), ms[3:4]); err != nil {
			t.Errorf("after the topic was created: %v", err) // the cache of a Transport would be outdated for seconds
		}
	})
}

func TestNullKeysSpreadOverAvailablePartitionsAndKeyedOnesOverAll(t *testing.T) { // seed 38
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(4, "out"))
		s := f.sink(t, "out", Config{HealTimeout: time.Second})
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = w.Close(), s.Close() }()
		// Partition 2 has no leader in the metadata of the sink.
		if _, _, err := s.cluster.ask(t.Context(), []string{"out"}); err != nil {
			t.Fatal(err)
		}
		s.cluster.mu.Lock()
		s.cluster.topics["out"].leaders[2], s.cluster.topics["out"].available = -1, []int32{0, 1, 3}
		s.cluster.mu.Unlock()
		ms := make([]keystrand.Message, 300)
		for i := range ms {
			ms[i].Value = []byte("v")
		}
		start := time.Now()
		if err := w.Write(t.Context(), ms); err != nil || time.Since(start) != 0 {
			t.Fatalf("after %v: %v; want no pause, because the other partitions have a leader", time.Since(start), err)
		}
		counts := make([]int, 4)
		for _, m := range f.read(t, "out") {
			counts[m.Partition]++
		}
		if !slices.Equal(counts, []int{100, 100, 0, 100}) {
			t.Errorf("messages without a key per partition: %v, want them even and none in partition 2", counts)
		}
		var key []byte
		for i := range 100 {
			if key = fmt.Appendf(nil, "key%d", i); Murmur2(key, 4) == 2 {
				break
			}
		}
		if err := w.Write(t.Context(), []keystrand.Message{{Key: key, Value: []byte("v")}}); err != nil {
			t.Fatal(err) // this Write requests the leader again
		}
		if n := f.PartitionInfo("out", 2).HighWatermark; n != 1 {
			t.Errorf("partition 2 has %d messages, want only the keyed one", n)
		}
	})
}

func TestMessagesWithoutAKeyLeaveAPartitionThatLosesItsLeader(t *testing.T) {
	w := &writer{sink: &Sink{topic: "out", cluster: &cluster{topics: map[string]*topic{}}}, shards: make(map[shardID]*shard)}
	w.ms = []keystrand.Message{{}, {Key: []byte("k")}, {}, {}}
	tp := &topic{name: "out", leaders: []int32{1, -1, 2}, available: []int32{0, 2}}
	w.sink.cluster.topics["out"] = tp
	s := w.shardFor(tp, 1)
	for i := range w.ms {
		s.add(i)
	}
	s.head = 1 // message 0 is durable
	w.divertKeyless(s)
	if !slices.Equal(s.rest(), []int{1}) {
		t.Errorf("partition 1 keeps %v, want only the keyed message 1", s.rest())
	}
	if n := len(w.shardFor(tp, 0).queue) + len(w.shardFor(tp, 2).queue); n != 2 || len(w.active) != 3 {
		t.Errorf("%d messages were diverted over %d partitions, want 2", n, len(w.active)-1)
	}
}

// The partition may get no message for long, so nothing would end the trouble.
func TestPartitionThatAllMessagesLeaveIsNoTrouble(t *testing.T) {
	w := &writer{sink: &Sink{topic: "out", cfg: Config{}.withDefaults(), cluster: &cluster{topics: map[string]*topic{}}}, shards: make(map[shardID]*shard)}
	w.ms = []keystrand.Message{{}, {}}
	w.res = sink.NewResult(w.ms)
	tp := &topic{name: "out", leaders: []int32{1, -1}, available: []int32{0}}
	w.sink.cluster.topics["out"] = tp
	for i := range w.ms {
		w.shardFor(tp, 1).add(i)
	}
	healthy := w.gather(t.Context())
	if _, err := w.waits.Err(); !healthy || err != nil || w.sink.failing.some.Load() {
		t.Errorf("gather = %v, trouble %v, failing %v", healthy, err, w.sink.failing.partitions)
	}
	if n := len(w.shardFor(tp, 0).queue); n != 2 {
		t.Errorf("%d messages were diverted, want 2", n)
	}
}

// Not in a bubble: a finalizer, which runs outside of it, ends the goroutines of a zstd decoder.
func TestCompressedBatchesCanBeRead(t *testing.T) {
	for _, c := range []kafka.Compression{kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			f := newFake(t, kfake.SeedTopics(1, "out"))
			w := f.writer(t, "out", Config{Compression: c})
			ms := keyed("a=1", "b=2")
			for i := range 100 {
				ms = append(ms, keystrand.Message{Key: []byte("c"), Value: bytes.Repeat([]byte{byte(i)}, 1000)})
			}
			if err := w.Write(t.Context(), ms); err != nil {
				t.Fatal(err)
			}
			if got := f.read(t, "out"); len(got) != 102 {
				t.Errorf("%d messages are stored", len(got))
			}
			if n := f.PartitionInfo("out", 0).NumBytes; n > 50_000 {
				t.Errorf("the batch has %d bytes: not compressed", n)
			}
		})
	}
}

type native string

func (n native) AppendValue(dst []byte) ([]byte, error) {
	if n == "" {
		return nil, errors.New("no form")
	}
	return append(dst, n...), nil
}

func (n native) Size() int { return len(n) }

func TestNativeValueIsWrittenAsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		w := f.writer(t, "out", Config{})
		ms := []keystrand.Message{{Key: []byte("a"), Native: native("row")}, {Key: []byte("b"), Native: native("")}}
		p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
		if !ok || p.Errs[0] != nil {
			t.Fatalf("%v", p)
		}
		if o, _ := keystrand.OutcomeOf(p.Errs[1]); o != keystrand.OutcomePermanent {
			t.Errorf("value that cannot be encoded: %v, want a permanent error", p.Errs[1])
		}
		if got := values(f.read(t, "out"))["a"]; got != "row" {
			t.Errorf("stored %q", got)
		}
	})
}

func TestWrongPasswordFailsWithoutRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		w := f.writer(t, "out", Config{
			SASL: plain.Mechanism{Username: "alice", Password: "secret"},
			// For a wrong password kfake disconnects, but Apache Kafka returns this error (TestLiveWrongPassword).
			Dial: func(context.Context, string, string) (net.Conn, error) { return nil, kafka.SASLAuthenticationFailed },
		})
		start := time.Now()
		err := w.Write(t.Context(), keyed("a=1"))
		checkWrongPassword(t, err, time.Since(start))
	})
}

func checkWrongPassword(t *testing.T, err error, took time.Duration) {
	t.Helper()
	if !errors.Is(err, kafka.SASLAuthenticationFailed) || !strings.Contains(err.Error(), "PLAIN") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error: %v", err)
	}
	if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
		t.Error("wrong password: the error is permanent, so a Skip policy would drop every message")
	}
	if took > 5*time.Second {
		t.Errorf("Write returned after %v, want no retry", took)
	}
}

func TestErrorNamesTheMechanismIfTheBrokerDisconnectsAtLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "right"))
		good := f.writer(t, "out", Config{SASL: plain.Mechanism{Username: "alice", Password: "right"}})
		if err := good.Write(t.Context(), keyed("a=1")); err != nil {
			t.Fatal(err)
		}
		bad := f.writer(t, "out", Config{SASL: plain.Mechanism{Username: "alice", Password: "wrong"}, HealTimeout: time.Second})
		if err := bad.Write(t.Context(), keyed("a=1")); err == nil || !strings.Contains(err.Error(), "PLAIN") {
			t.Errorf("error: %v", err)
		}
		none := f.writer(t, "out", Config{HealTimeout: time.Second})
		if err := none.Write(t.Context(), keyed("a=1")); err == nil || !strings.Contains(err.Error(), "SASL") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestMissingPermissionIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
		w := f.writer(t, "out", Config{})
		err := w.Write(t.Context(), keyed("a=1", "b=2"))
		if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || !strings.Contains(err.Error(), "out/0") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestNewReturnsAllConfigurationErrors(t *testing.T) {
	_, err := New([]string{"host"}, "", Config{Compression: 9, MaxBatchBytes: -1, RequestTimeout: -1, HealTimeout: -1, MetadataMaxAge: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no topic", "Config.ByStream", "host", "Compression", "MaxBatchBytes", "RequestTimeout", "HealTimeout", "MetadataMaxAge"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	if _, err := New(nil, "out", Config{}); err == nil {
		t.Error("New without brokers returned no error")
	}
	if _, err := New([]string{"host:9092"}, "out", Config{ByStream: true}); err == nil || !strings.Contains(err.Error(), "use one of them") {
		t.Errorf("with a topic and ByStream: %v", err)
	}
}
