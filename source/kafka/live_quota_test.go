package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// Kafka answers a request beyond a quota without data. All messages come, late, and throttling is reported once.
func TestLiveQuotaIsReportedOnce(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // real time: hang guard
	defer cancel()
	cl := newClient(t, brokers, (&net.Dialer{}).DialContext, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(cl)
	name := fmt.Sprintf("quota-%d", time.Now().UnixNano())
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.DeleteTopic(context.Background(), name) })
	altered, err := admin.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &name}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "consumer_byte_rate", Value: 200_000}},
	}})
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	const each = 20
	for i := range int32(2 * each) {
		cl.Produce(ctx, &kgo.Record{Topic: name, Partition: i % 2, Value: make([]byte, 100_000)}, nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	log := &told{}
	s, err := kafka.New(brokers, name, []string{name}, kafka.Config{
		ClientID: name, SessionTimeout: 6 * time.Second, MaxBytes: 1 << 20, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		p, err := s.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for n := 0; n < each; {
				b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
				if err := p.Fetch(ctx, &b); err != nil {
					t.Error(err)
					break
				}
				n += len(b.Messages)
			}
			if err := p.Release(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	trouble := s.Report().Trouble
	if len(trouble) != 1 || trouble[0].What != "quota" || !strings.Contains(trouble[0].Err.Error(), name) {
		t.Errorf("trouble %+v", trouble)
	}
	joins := log.times("level=WARN", "what=join")                       // a broker that has just started has no coordinator yet
	waits := log.times("level=WARN", "waiting for Kafka", "step=Fetch") // a broker that throttles a client reads its next request late
	if n := log.times("level=WARN") - joins - waits; n != 1 || log.times("broker throttles this client", "client_id="+name) != 1 {
		t.Errorf("%d warnings, want one of the quota:\n%v", n, log.lines)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
