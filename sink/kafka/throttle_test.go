package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// throttles makes the brokers answer each produce request at once with a time for which they throttle the client.
func (f *fake) throttles(pause time.Duration, asked func()) {
	f.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		f.KeepControl()
		asked()
		req, _ := r.(*kmsg.ProduceRequest)
		resp, _ := r.ResponseKind().(*kmsg.ProduceResponse)
		resp.ThrottleMillis = int32(pause / time.Millisecond)
		for _, t := range req.Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition = p.Partition
				topic.Partitions = append(topic.Partitions, part)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
}

// A broker that throttles does not read the next request in time. The sink sends it later, and says why once a minute.
func TestThrottledWriteWaitsForTheBroker(t *testing.T) {
	const pause = 15 * time.Second // more than RequestTimeout
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		var at []time.Time
		f.throttles(pause, func() { at = append(at, time.Now()) })
		var log bytes.Buffer
		w := f.writer(t, "out", Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for k := range 4 {
			if err := w.Write(t.Context(), keyed(fmt.Sprintf("key%d=1", k))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range at[1:] {
			if d := at[i+1].Sub(at[i]); d < pause {
				t.Errorf("request %d was sent %v after the one before, want %v", i+1, d, pause)
			}
		}
		if n := strings.Count(log.String(), "throttle=15s client_id=keystrand"); n != 1 || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("%d lines, want 1:\n%s", n, log.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := w.Write(ctx, keyed("key=1")); err == nil || time.Since(began) > time.Second {
			t.Errorf("Write = %v after %v, want an error at the end of its ctx", err, time.Since(began))
		}
	})
}

// A writer takes any connection that is idle, also the one whose answer has extended the time.
func TestThrottleWaitsForTheLatestAnswerOfABroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var quota throttle
		cfg := Config{}.withDefaults()
		quota.answered(t.Context(), &cfg, 1, 10*time.Second)
		time.AfterFunc(5*time.Second, func() { quota.answered(t.Context(), &cfg, 1, 10*time.Second) })
		began := time.Now()
		if err := quota.wait(t.Context(), 1); err != nil || time.Since(began) != 15*time.Second {
			t.Errorf("wait = %v after %v, want 15s", err, time.Since(began))
		}
	})
}
